import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { execa } from 'execa'

/**
 * Installs packages without starting or enabling their services. Debian would do both, but the box runs the programs
 * itself. Only the services stay disabled, nothing else changes: whoever needs one for another purpose can enable it.
 *
 * @param services names of the services in the packages.
 * @param root the file system to install to.
 */
export async function withServicesOff(
  services: readonly string[],
  install: () => Promise<void>,
  env = process.env,
  root = '/',
): Promise<void> {
  const run = execa({ env, extendEnv: false })
  const systemd = existsSync(join(root, 'run/systemd/system'))
  const units = services.map((name) => `${name}.service`)
  const undo: (() => Promise<unknown>)[] = []
  try {
    if (systemd && units.length > 0) {
      undo.push(() => run('systemctl', ['unmask', '--runtime', ...units]))
      // Nothing can start a masked unit.
      await run('systemctl', ['mask', '--runtime', ...units])
    }
    if (!systemd && services.length > 0) {
      // Debian's mechanism without systemd: exit code 101 forbids packages to start their services.
      const policy = join(root, 'usr/sbin/policy-rc.d')
      if (!existsSync(policy)) {
        undo.push(() => rm(policy, { force: true }))
        await writeFile(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
      }
    }
    if (services.includes('postgresql')) {
      // The server's package would also create a database cluster.
      const file = join(root, 'etc/postgresql-common/createcluster.d/eks-box.conf')
      undo.push(() => rm(file, { force: true }))
      await mkdir(dirname(file), { recursive: true })
      await writeFile(file, 'create_main_cluster = false\n')
    }
    await install()
  } finally {
    for (const step of undo) await step()
  }
  if (systemd && units.length > 0) await run('systemctl', ['disable', ...units])
  if (systemd) return
  for (const name of services) {
    if (existsSync(join(root, 'etc/init.d', name))) await run('update-rc.d', [name, 'disable'])
  }
}
