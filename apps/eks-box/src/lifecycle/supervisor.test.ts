import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Component, ComponentName } from '../components/component.ts'
import { runProbe } from './probe.ts'
import type { ComponentStatus } from './status.ts'
import { Supervisor } from './supervisor.ts'

/** A component that runs a script of Node.js and is ready while its marker file exists. */
function component(
  name: ComponentName,
  script: string,
  marker: string,
  rest: Partial<Component> = {},
): Component {
  return {
    name,
    dependsOn: [],
    command: [process.execPath, '-e', script],
    files: {},
    probe: { kind: 'command', command: ['test', '-e', marker] },
    diagnoses: [],
    ...rest,
  }
}

const touch = (path: string) => `require('fs').appendFileSync(${JSON.stringify(path)}, process.pid + '\\n');`
const stay = 'setInterval(() => {}, 1000);'

function supervise(
  t: Test,
  components: Component[],
  limits: { startTimeout?: number; hangTimeout?: number } = {},
) {
  const directory = t.testdir()
  const history: ComponentStatus[] = []
  let latest: ComponentStatus[] = []
  const supervisor = new Supervisor(components, {
    logDirectory: directory,
    runProbe,
    startTimeout: 20_000,
    stopTimeout: 15_000,
    hangTimeout: 20_000,
    watchInterval: 20,
    restartDelay: 10,
    ...limits,
    onChange: (statuses) => {
      latest = statuses
      history.push(...statuses)
    },
  })
  t.teardown(() => supervisor.stop())
  const of = (name: ComponentName) => latest.find((status) => status.name === name)
  return { supervisor, history, of, directory }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(20)
}

t.test('components start in dependency order and stop in reverse order', async (t) => {
  const directory = t.testdir()
  const order = join(directory, 'order')
  const script = (name: string) =>
    `const fs = require('fs'); fs.appendFileSync('${order}', '+${name} ');
     process.on('SIGTERM', () => { fs.appendFileSync('${order}', '-${name} '); process.exit(0) });
     fs.writeFileSync('${join(directory, name)}', ''); ${stay}`
  const { supervisor, of } = supervise(t, [
    component('kubelet', script('kubelet'), join(directory, 'kubelet'), { dependsOn: ['kube-apiserver'] }),
    component('kube-apiserver', script('kube-apiserver'), join(directory, 'kube-apiserver'), {
      dependsOn: ['etcd'],
    }),
    component('etcd', script('etcd'), join(directory, 'etcd')),
  ])
  await supervisor.start()
  t.equal(of('kubelet')?.state, 'ready')
  await supervisor.stop()
  t.equal(readFileSync(order, 'utf8').trim(), '+etcd +kube-apiserver +kubelet -kubelet -kube-apiserver -etcd')
  t.equal(of('etcd')?.state, 'stopped')
})

t.test('a component is stopped with its stop signal', async (t) => {
  const directory = t.testdir()
  const received = join(directory, 'received')
  const handlers = ['SIGTERM', 'SIGINT']
    .map(
      (name) =>
        `process.on('${name}', () => { require('fs').writeFileSync('${received}', '${name}'); process.exit(0) });`,
    )
    .join('')
  const marker = join(directory, 'marker')
  const { supervisor } = supervise(t, [
    component('postgres', handlers + touch(marker) + stay, marker, { stopSignal: 'SIGINT' }),
  ])
  await supervisor.start()
  await supervisor.stop()
  t.equal(readFileSync(received, 'utf8'), 'SIGINT')
})

t.test('a component that is killed is restarted', async (t) => {
  const marker = join(t.testdir(), 'pids')
  const { supervisor, of } = supervise(t, [component('etcd', touch(marker) + stay, marker)])
  await supervisor.start()
  const first = of('etcd')?.pid
  if (first === undefined) throw new Error('etcd has no pid')
  process.kill(first, 'SIGKILL')
  await until(() => of('etcd')?.restarts === 1 && of('etcd')?.state === 'ready')
  t.not(of('etcd')?.pid, first)
})

t.test('a component that cannot start fails with the last line of its log', async (t) => {
  const { supervisor, of } = supervise(t, [
    component('etcd', "console.error('the moon is in the way'); process.exit(3)", '/nowhere'),
    component('kube-apiserver', stay, '/nowhere', { dependsOn: ['etcd'] }),
  ])
  await t.rejects(supervisor.start(), {
    message: 'etcd exited with code 3 before it was ready; its last log line: the moon is in the way',
    nextStep: /make logs C=etcd/,
  })
  t.equal(of('etcd')?.state, 'failed')
  t.equal(of('kube-apiserver')?.state, 'waiting', 'its dependents are never started')
})

t.test('a known failure is reported with its diagnosis', async (t) => {
  const { supervisor } = supervise(t, [
    component('etcd', "console.error('E123 quota'); process.exit(1)", '/nowhere', {
      diagnoses: [{ pattern: /E123/, cause: 'the quota is used up', nextStep: 'raise the quota' }],
    }),
  ])
  await t.rejects(supervisor.start(), { message: 'the quota is used up', nextStep: 'raise the quota' })
})

t.test('a missing program is reported', async (t) => {
  const { supervisor } = supervise(t, [component('etcd', '', '/nowhere', { command: ['/no/such/etcd'] })])
  await t.rejects(supervisor.start(), { message: /etcd could not be started: .*ENOENT/ })
})

t.test('a component that does not become ready in time is killed and reported', async (t) => {
  const marker = join(t.testdir(), 'pid')
  const { supervisor } = supervise(t, [component('etcd', touch(marker) + stay, '/nowhere')], {
    startTimeout: 5000,
  })
  await t.rejects(supervisor.start(), {
    message: /etcd was not ready after 5 s/,
    nextStep: /raise BOX_START_TIMEOUT_SECONDS/,
  })
  const pid = Number(readFileSync(marker, 'utf8'))
  t.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
})

t.test(
  'files are written before the start, and afterReady commands run before dependents start',
  async (t) => {
    const directory = t.testdir()
    const at = (name: string) => join(directory, name)
    const { supervisor } = supervise(t, [
      component('etcd', `require('fs').copyFileSync('${at('deep/in')}', '${at('out')}');${stay}`, at('out'), {
        files: { [at('deep/in')]: 'content' },
        afterReady: [['touch', at('followed-up')]],
      }),
      component(
        'kube-apiserver',
        `require('fs').writeFileSync('${at('saw')}', String(require('fs').existsSync('${at('followed-up')}')));${stay}`,
        at('saw'),
        { dependsOn: ['etcd'] },
      ),
    ])
    await supervisor.start()
    t.equal(readFileSync(at('out'), 'utf8'), 'content')
    t.equal(readFileSync(at('saw'), 'utf8'), 'true')
  },
)

t.test("a component's output goes to its log", async (t) => {
  const marker = join(t.testdir(), 'marker')
  const { supervisor, directory } = supervise(t, [
    component('etcd', `console.log('hello');${touch(marker)}${stay}`, marker),
  ])
  await supervisor.start()
  t.match(readFileSync(join(directory, 'etcd.log'), 'utf8'), 'hello')
})

t.test('a large log is rotated at the next start', async (t) => {
  const directory = t.testdir({ 'etcd.log': 'x'.repeat(21 * 1024 * 1024) })
  const marker = join(directory, 'marker')
  const supervisor = new Supervisor([component('etcd', touch(marker) + stay, marker)], {
    logDirectory: directory,
    runProbe,
    startTimeout: 20_000,
    stopTimeout: 15_000,
    hangTimeout: 20_000,
    watchInterval: 20,
    restartDelay: 10,
    onChange: () => {},
  })
  t.teardown(() => supervisor.stop())
  await supervisor.start()
  t.ok(existsSync(join(directory, 'etcd.log.1')))
  t.equal(readFileSync(join(directory, 'etcd.log'), 'utf8'), '')
})

t.test('a component is unready until its probe succeeds again', async (t) => {
  const marker = join(t.testdir(), 'pids')
  const { supervisor, of } = supervise(t, [component('etcd', touch(marker) + stay, marker)])
  await supervisor.start()
  const pid = of('etcd')?.pid
  rmSync(marker)
  await until(() => of('etcd')?.state === 'unready')
  t.match(of('etcd'), { message: /\S/, nextStep: /make logs C=etcd/ })
  writeFileSync(marker, '')
  await until(() => of('etcd')?.state === 'ready')
  t.strictSame(of('etcd'), { name: 'etcd', state: 'ready', restarts: 0, pid }, 'not restarted')
})

t.test('a component that hangs is restarted', async (t) => {
  const marker = join(t.testdir(), 'pids')
  const { supervisor, of, history } = supervise(t, [component('etcd', touch(marker) + stay, marker)], {
    hangTimeout: 100,
  })
  await supervisor.start()
  const pid = of('etcd')?.pid
  rmSync(marker)
  await until(() => of('etcd')?.restarts === 1 && of('etcd')?.state === 'ready')
  t.not(of('etcd')?.pid, pid)
  t.match(
    history.find(({ state }) => state === 'restarting'),
    { message: /^etcd hung: / },
  )
})

t.test('a component does not count as hung while a dependency is not ready', async (t) => {
  const directory = t.testdir()
  const [store, server, gone] = [join(directory, 'store'), join(directory, 'server'), join(directory, 'gone')]
  const { supervisor, of } = supervise(
    t,
    [
      component(
        'etcd',
        `if (require('fs').existsSync('${gone}')) process.exit(1); ${touch(store)}${stay}`,
        store,
      ),
      component('kube-apiserver', touch(server) + stay, server, { dependsOn: ['etcd'] }),
    ],
    { hangTimeout: 100 },
  )
  await supervisor.start()
  const pid = of('etcd')?.pid
  if (pid === undefined) throw new Error('etcd has no pid')
  writeFileSync(gone, '')
  rmSync(store)
  process.kill(pid, 'SIGKILL')
  rmSync(server)
  await until(() => (of('etcd')?.restarts ?? 0) >= 4)
  t.match(of('kube-apiserver'), { state: 'unready', restarts: 0 })
})

t.test('a file that cannot be written stops only its own component', async (t) => {
  const directory = t.testdir()
  const [marker, other] = [join(directory, 'pids'), join(directory, 'other')]
  const files = { [join(directory, 'config', 'etcd.yaml')]: 'content' }
  const { supervisor, of } = supervise(t, [
    component('etcd', touch(marker) + stay, marker, { files }),
    component('registry', touch(other) + stay, other),
  ])
  await supervisor.start()
  rmSync(join(directory, 'config'), { recursive: true })
  // A file in place of the directory, because missing permissions do not stop root.
  writeFileSync(join(directory, 'config'), '')
  process.kill(of('etcd')?.pid ?? 0, 'SIGKILL')
  await until(() => (of('etcd')?.restarts ?? 0) >= 2)
  t.match(of('etcd'), { state: 'restarting', message: /etcd could not be started: E(EXIST|NOTDIR)/ })
  t.equal(of('registry')?.state, 'ready')
  rmSync(join(directory, 'config'))
  await until(() => of('etcd')?.state === 'ready')
  t.equal(readFileSync(join(directory, 'config', 'etcd.yaml'), 'utf8'), 'content')
})

t.test('a full disk is reported as the cause', async (t) => {
  const { supervisor } = supervise(t, [
    component('etcd', "console.error('write /data: no space left on device'); process.exit(1)", '/nowhere'),
  ])
  await t.rejects(supervisor.start(), {
    message: "etcd cannot write: the disk of the box's state is full",
    nextStep: /free disk space/,
  })
})

t.test('a diagnosis ignores what earlier runs have logged', async (t) => {
  const { supervisor, directory } = supervise(t, [
    component('etcd', "console.error('another reason'); process.exit(1)", '/nowhere', {
      diagnoses: [{ pattern: /E123/, cause: 'the quota is used up', nextStep: 'raise the quota' }],
    }),
  ])
  writeFileSync(join(directory, 'etcd.log'), 'E123 quota\naddress already in use\n')
  await t.rejects(supervisor.start(), { message: /etcd exited with code 1 .*: another reason/ })
})
