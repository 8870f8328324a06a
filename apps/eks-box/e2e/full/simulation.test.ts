/**
 * `make simulate` in a box without the platform stack: Karpenter's decisions, the measurements, and that nothing is left
 * in the cluster, however it ends.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import t from 'tap'
import { operate, repository } from '../operator.ts'

const minute = 60_000

const { environment, config, make, kubectl } = await operate('e2e-simulation', 25_900)
const results = t.testdir()
const small = { NODES: '3', PODS: '20', HOUR: '2' }

/** The simulation's objects in the cluster: nodes, namespaces and custom resource definitions. */
async function remains(): Promise<string> {
  const kinds = ['nodes', 'namespaces', 'customresourcedefinitions']
  const names = await Promise.all(kinds.map((kind) => kubectl('get', kind, '--output=name')))
  return names
    .join('\n')
    .split('\n')
    .filter((name) => /^node\/|simulation|karpenter/.test(name))
    .join(' ')
}

/** The processes of the simulation's controllers in this box. */
async function controllers(): Promise<string> {
  const { stdout } = await execa('pgrep', ['--full', '--list-name', `^/.*kwok .*${config.stateDir}/`], {
    reject: false,
  })
  return stdout
}

/** Starts a simulation that never ends by itself, and resolves when its pods run. */
async function startLong() {
  const simulation = execa('node', ['scripts/src/simulation/simulate.ts'], {
    cwd: repository,
    env: { ...environment, ...small, HOUR: '3600' },
    all: true,
    reject: false,
  })
  let hasEnded = false
  const ended = simulation.finally(() => {
    hasEnded = true
  })
  const deadline = Date.now() + 10 * minute
  for (;;) {
    const pods = await kubectl('get', 'pods', '--namespace=simulation', '--no-headers').catch(() => '')
    if (pods.match(/ Running /g)?.length === 20) {
      return { ended, kill: (signal: 'SIGINT' | 'SIGKILL') => simulation.kill(signal) }
    }
    if (hasEnded || Date.now() > deadline) {
      throw new Error(`the simulation did not start: ${(await simulation).all}`)
    }
    await sleep(500)
  }
}

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})

await t.test('without a box, and for another environment, it says what to do', async (t) => {
  t.match(await make('simulate', small, true), /^error: box e2e-simulation is not running\n next: start it/m)
  t.match(
    await make('simulate', { ...small, ENV: 'dev' }, true),
    /^error: the simulation runs only in the box/m,
  )
  t.match(await make('simulate', { NODES: '0' }, true), /^error: NODES is "0"/m)
})

await t.test('Karpenter scales simulated nodes, and nothing remains', async (t) => {
  await make('box')
  const file = join(results, 'report.json')
  const output = await make('simulate', { ...small, ARGS: `--summary ${file}` })
  const report = JSON.parse(readFileSync(file, 'utf8'))
  t.match(output, /all pods run after/, 'progress')
  t.match(output, /\| kube-apiserver +\|/, 'the result')
  t.match(report, { size: { nodes: 3, pods: 20 } })
  t.ok(report.scaleUp.nodes >= 3, 'nodes for all pods')
  t.ok(report.scaleUp.batches.length >= 1, "Karpenter's batches")
  t.ok(report.scaleUp.usdPerHour > 0 && report.day.usd > 0, 'prices')
  t.equal(report.day.hours.length, 24)
  for (const program of [
    ...['kube-apiserver', 'etcd', 'kube-scheduler', 'kube-controller-manager'],
    ...['karpenter-kwok', 'kwok'],
  ]) {
    const { peakMemoryMiB, cpuSeconds } = report.usage.day[program]
    t.ok(peakMemoryMiB > 0 && cpuSeconds > 0, program)
  }
  t.equal(await remains(), '')
  t.equal(await controllers(), '')
})

await t.test('Ctrl-C removes everything', async (t) => {
  const { ended, kill } = await startLong()
  t.match(
    await make('simulate', small, true),
    /^error: a simulation is already running/m,
    'only one at a time',
  )
  kill('SIGINT')
  const { exitCode, all } = await ended
  t.equal(exitCode, 130, all)
  t.match(all, /^error: the simulation was interrupted/m)
  t.equal(await remains(), '')
  t.equal(await controllers(), '')
})

await t.test('after it was killed, its controllers end, and the next one removes what is left', async (t) => {
  const { ended, kill } = await startLong()
  kill('SIGKILL')
  await ended
  const deadline = Date.now() + minute
  while ((await controllers()) !== '' && Date.now() < deadline) await sleep(200)
  t.equal(await controllers(), '')
  t.match(await remains(), /namespace\/simulation/)
  await make('simulate', { ...small, ARGS: `--summary ${join(results, 'second.json')}` })
  t.equal(await remains(), '')
})
