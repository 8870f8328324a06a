import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { withServicesOff } from './debian-services.ts'

/** A root directory with `files`, and programs that record their calls. */
function machine(t: Test, files: Record<string, unknown>) {
  const root = t.testdir({
    bin: {},
    'calls.log': '',
    etc: {},
    usr: { sbin: {} },
    ...files,
  })
  for (const name of ['systemctl', 'update-rc.d']) {
    const program = join(root, 'bin', name)
    writeFileSync(program, `#!/bin/sh\necho "${name} $*" >> ${root}/calls.log\n`)
    chmodSync(program, 0o755)
  }
  return {
    root,
    env: { PATH: join(root, 'bin') },
    calls: () => readFileSync(join(root, 'calls.log'), 'utf8').trim().split('\n').filter(Boolean),
    policy: join(root, 'usr/sbin/policy-rc.d'),
    noCluster: join(root, 'etc/postgresql-common/createcluster.d/eks-box.conf'),
  }
}

const systemd = { run: { systemd: { system: {} } } }

t.test('with systemd, units are masked during the installation and disabled afterwards', async (t) => {
  const { root, env, calls, policy } = machine(t, systemd)
  await withServicesOff(
    ['containerd', 'redis-server'],
    async () => {
      t.strictSame(calls(), ['systemctl mask --runtime containerd.service redis-server.service'])
    },
    env,
    root,
  )
  t.strictSame(calls().slice(1), [
    'systemctl unmask --runtime containerd.service redis-server.service',
    'systemctl disable containerd.service redis-server.service',
  ])
  t.notOk(existsSync(policy))
})

t.test('without systemd, policy-rc.d forbids every start during the installation', async (t) => {
  const { root, env, calls, policy } = machine(t, { etc: { 'init.d': { 'redis-server': '' } } })
  await withServicesOff(
    ['containerd', 'redis-server'],
    async () => {
      t.match(readFileSync(policy, 'utf8'), 'exit 101')
    },
    env,
    root,
  )
  t.notOk(existsSync(policy))
  t.strictSame(calls(), ['update-rc.d redis-server disable'], 'containerd has no init script')
})

t.test('an existing policy-rc.d is left unchanged', async (t) => {
  const { root, env, policy } = machine(t, { usr: { sbin: { 'policy-rc.d': 'mine' } } })
  await withServicesOff(['redis-server'], async () => {}, env, root)
  t.equal(readFileSync(policy, 'utf8'), 'mine')
})

t.test("PostgreSQL's package does not create a database cluster", async (t) => {
  const { root, env, noCluster } = machine(t, systemd)
  await withServicesOff(
    ['postgresql'],
    async () => {
      t.equal(readFileSync(noCluster, 'utf8'), 'create_main_cluster = false\n')
    },
    env,
    root,
  )
  t.notOk(existsSync(noCluster))
})

t.test('a failed installation leaves nothing behind', async (t) => {
  const { root, env, calls, noCluster } = machine(t, systemd)
  await t.rejects(
    withServicesOff(['postgresql'], () => Promise.reject(new Error('no space left')), env, root),
    { message: 'no space left' },
  )
  t.notOk(existsSync(noCluster))
  t.match(calls().at(-1), /^systemctl unmask /)
})

t.test('packages without services are installed as they are', async (t) => {
  const { root, env, calls, policy } = machine(t, {})
  await withServicesOff(
    [],
    async () => {
      t.notOk(existsSync(policy))
    },
    env,
    root,
  )
  t.strictSame(calls(), [])
})
