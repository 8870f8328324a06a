import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { kubeconfigPath, operatorKeyPath, readBoxConfig } from 'shared/box'
import t from 'tap'
import { handOver } from './ownership.ts'

const notRoot = process.getuid?.() === 0 ? false : 'needs root'

t.test(
  'the caller of sudo owns the kubeconfig and the AWS key, and nobody else can read them',
  { skip: notRoot },
  async (t) => {
    const config = { ...readBoxConfig({}), stateDir: join(t.testdir({ box: {} }), 'box') }
    for (const path of [kubeconfigPath(config), operatorKeyPath(config)])
      writeFileSync(path, '', { mode: 0o600 })
    await handOver(config, {})
    t.equal(statSync(kubeconfigPath(config)).uid, 0, 'unchanged without sudo')
    await handOver(config, { SUDO_UID: '1234', SUDO_GID: '4321' })
    for (const path of [kubeconfigPath(config), operatorKeyPath(config)]) {
      const { uid, gid, mode } = statSync(path)
      t.strictSame([uid, gid, mode & 0o777], [1234, 4321, 0o600])
    }
    t.equal(statSync(join(config.stateDir, 'terraform')).uid, 1234)
  },
)
