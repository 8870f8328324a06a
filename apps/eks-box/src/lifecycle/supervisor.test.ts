import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Component, ComponentName } from '../components/component.ts'
import { ask } from './probe.ts'
import type { ComponentStatus } from './status.ts'
import { Supervisor } from './supervisor.ts'

/** A component that is ready once its marker file exists; the tests' programs are one-line scripts. */
function component(
  name: ComponentName,
  script: string,
  marker: string,
  rest: Partial<Component> = {},
): Component {
  return {
    name,
    after: [],
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
    ask,
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

t.test('components start in the order of their links and stop in reverse', async (t) => {
  const directory = t.testdir()
  const order = join(directory, 'order')
  const script = (name: string) =>
    `const fs = require('fs'); fs.appendFileSync('${order}', '+${name} ');
     process.on('SIGTERM', () => { fs.appendFileSync('${order}', '-${name} '); process.exit(0) });
     fs.writeFileSync('${join(directory, name)}', ''); ${stay}`
  const { supervisor, of } = supervise(t, [
    component('kubelet', script('kubelet'), join(directory, 'kubelet'), { after: ['kube-apiserver'] }),
    component('kube-apiserver', script('kube-apiserver'), join(directory, 'kube-apiserver'), {
      after: ['etcd'],
    }),
    component('etcd', script('etcd'), join(directory, 'etcd')),
  ])
  await supervisor.start()
  t.equal(of('kubelet')?.state, 'ready')
  await supervisor.stop()
  t.equal(readFileSync(order, 'utf8').trim(), '+etcd +kube-apiserver +kubelet -kubelet -kube-apiserver -etcd')
  t.equal(of('etcd')?.state, 'stopped')
})

t.test('a component that has a signal of its own is stopped with that', async (t) => {
  const directory = t.testdir()
  const heard = join(directory, 'heard')
  const hears = ['SIGTERM', 'SIGINT']
    .map(
      (name) =>
        `process.on('${name}', () => { require('fs').writeFileSync('${heard}', '${name}'); process.exit(0) });`,
    )
    .join('')
  const marker = join(directory, 'marker')
  const { supervisor } = supervise(t, [
    component('postgres', hears + touch(marker) + stay, marker, { stopSignal: 'SIGINT' }),
  ])
  await supervisor.start()
  await supervisor.stop()
  t.equal(readFileSync(heard, 'utf8'), 'SIGINT')
})

t.test('a component that is killed is started again', async (t) => {
  const marker = join(t.testdir(), 'pids')
  const { supervisor, of } = supervise(t, [component('etcd', touch(marker) + stay, marker)])
  await supervisor.start()
  const first = of('etcd')?.pid
  if (first === undefined) throw new Error('etcd has no pid')
  process.kill(first, 'SIGKILL')
  await until(() => of('etcd')?.restarts === 1 && of('etcd')?.state === 'ready')
  t.not(of('etcd')?.pid, first)
})

t.test('a component that cannot start fails with what it said last', async (t) => {
  const { supervisor, of } = supervise(t, [
    component('etcd', "console.error('the moon is in the way'); process.exit(3)", '/nowhere'),
    component('kube-apiserver', stay, '/nowhere', { after: ['etcd'] }),
  ])
  await t.rejects(supervisor.start(), {
    message: 'etcd exited with code 3 before it was ready; it last said: the moon is in the way',
    nextStep: /make logs C=etcd/,
  })
  t.equal(of('etcd')?.state, 'failed')
  t.equal(of('kube-apiserver')?.state, 'waiting', 'what depends on it is never started')
})

t.test('a known failure is told in the words of the operator', async (t) => {
  const { supervisor } = supervise(t, [
    component('etcd', "console.error('E123 quota'); process.exit(1)", '/nowhere', {
      diagnoses: [{ pattern: /E123/, cause: 'the quota is used up', nextStep: 'raise the quota' }],
    }),
  ])
  await t.rejects(supervisor.start(), { message: 'the quota is used up', nextStep: 'raise the quota' })
})

t.test('a program that does not exist is named', async (t) => {
  const { supervisor } = supervise(t, [component('etcd', '', '/nowhere', { command: ['/no/such/etcd'] })])
  await t.rejects(supervisor.start(), { message: /etcd could not be started: .*ENOENT/ })
})

t.test('a component that never answers is ended and told', async (t) => {
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

t.test('files are written before the start, and follow-up commands run before dependents', async (t) => {
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
      { after: ['etcd'] },
    ),
  ])
  await supervisor.start()
  t.equal(readFileSync(at('out'), 'utf8'), 'content')
  t.equal(readFileSync(at('saw'), 'utf8'), 'true')
})

t.test('what a component prints is in its log', async (t) => {
  const marker = join(t.testdir(), 'marker')
  const { supervisor, directory } = supervise(t, [
    component('etcd', `console.log('hello');${touch(marker)}${stay}`, marker),
  ])
  await supervisor.start()
  t.match(readFileSync(join(directory, 'etcd.log'), 'utf8'), 'hello')
})

t.test('a log that grew large is set aside at the next start', async (t) => {
  const directory = t.testdir({ 'etcd.log': 'x'.repeat(21 * 1024 * 1024) })
  const marker = join(directory, 'marker')
  const supervisor = new Supervisor([component('etcd', touch(marker) + stay, marker)], {
    logDirectory: directory,
    ask,
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

t.test('a component whose probe fails is not ready until it answers again', async (t) => {
  const marker = join(t.testdir(), 'pids')
  const { supervisor, of } = supervise(t, [component('etcd', touch(marker) + stay, marker)])
  await supervisor.start()
  const pid = of('etcd')?.pid
  rmSync(marker)
  await until(() => of('etcd')?.state === 'unready')
  t.match(of('etcd'), { message: /\S/, nextStep: /make logs C=etcd/ })
  writeFileSync(marker, '')
  await until(() => of('etcd')?.state === 'ready')
  t.strictSame(of('etcd'), { name: 'etcd', state: 'ready', restarts: 0, pid }, 'it was not started again')
})

t.test('a component that hangs is started again', async (t) => {
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

t.test('a component does not count as hung while one that it depends on is away', async (t) => {
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
      component('kube-apiserver', touch(server) + stay, server, { after: ['etcd'] }),
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

t.test('what cannot be written keeps one component from starting, and ends nothing else', async (t) => {
  const directory = t.testdir()
  const [marker, other] = [join(directory, 'pids'), join(directory, 'other')]
  const files = { [join(directory, 'config', 'etcd.yaml')]: 'content' }
  const { supervisor, of } = supervise(t, [
    component('etcd', touch(marker) + stay, marker, { files }),
    component('registry', touch(other) + stay, other),
  ])
  await supervisor.start()
  rmSync(join(directory, 'config'), { recursive: true })
  // A file where its directory has to be: to root, no other error is as easy to make.
  writeFileSync(join(directory, 'config'), '')
  process.kill(of('etcd')?.pid ?? 0, 'SIGKILL')
  await until(() => (of('etcd')?.restarts ?? 0) >= 2)
  t.match(of('etcd'), { state: 'restarting', message: /etcd could not be started: E(EXIST|NOTDIR)/ })
  t.equal(of('registry')?.state, 'ready')
  rmSync(join(directory, 'config'))
  await until(() => of('etcd')?.state === 'ready')
  t.equal(readFileSync(join(directory, 'config', 'etcd.yaml'), 'utf8'), 'content')
})

t.test('a full disk is named as the cause', async (t) => {
  const { supervisor } = supervise(t, [
    component('etcd', "console.error('write /data: no space left on device'); process.exit(1)", '/nowhere'),
  ])
  await t.rejects(supervisor.start(), {
    message: "etcd cannot write: the disk of the box's state is full",
    nextStep: /free disk space/,
  })
})

t.test('a failure is not explained with what an earlier life has logged', async (t) => {
  const { supervisor, directory } = supervise(t, [
    component('etcd', "console.error('another reason'); process.exit(1)", '/nowhere', {
      diagnoses: [{ pattern: /E123/, cause: 'the quota is used up', nextStep: 'raise the quota' }],
    }),
  ])
  writeFileSync(join(directory, 'etcd.log'), 'E123 quota\naddress already in use\n')
  await t.rejects(supervisor.start(), { message: /etcd exited with code 1 .*: another reason/ })
})
