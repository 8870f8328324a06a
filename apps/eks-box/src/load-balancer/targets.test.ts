import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { type Failure, matchesCode } from './health-check.ts'
import type { LoadBalancingState, Target } from './state.ts'
import { Targets } from './targets.ts'
import { forwardTo, groupArn, loadBalancer, targetGroup } from './testing.ts'

const failure: Failure = { reason: 'Target.Timeout', description: 'Request timed out' }
const target = (host: number): Target => ({ id: `10.0.33.${host}`, port: 80, address: `10.0.33.${host}` })

/** Targets whose health checks wait until the test gives their results. */
function start(t: { teardown: (action: () => void) => void }, state: LoadBalancingState) {
  const waiting = new Map<string, (result: Failure | undefined) => void>()
  const targets = new Targets(
    ({ intervalSeconds: _interval }, { id }, signal) => {
      const { promise, resolve } = Promise.withResolvers<Failure | undefined>()
      waiting.set(id, resolve)
      signal.addEventListener('abort', () => waiting.delete(id))
      return promise
    },
    () => {},
  )
  t.teardown(() => targets.close())
  targets.update(state)
  return {
    targets,
    /** Ends the next health check of a target. */
    async check({ id }: Target, result?: Failure): Promise<void> {
      while (!waiting.has(id)) await sleep(1)
      waiting.get(id)?.(result)
      waiting.delete(id)
      await sleep(0)
    },
    states: () => targets.healthOf(groupArn('web'))?.map(({ state }) => state),
    servers: () => targets.serversOf(groupArn('web')).map((server) => server?.state),
  }
}

const listeners = [{ protocol: 'HTTP', port: 80, certificates: [], rules: [forwardTo('web')] }] as const

function stateOf(...targets: Target[]) {
  return {
    loadBalancers: [
      loadBalancer(
        'shop',
        listeners.map((listener) => ({ ...listener, certificates: [], rules: [...listener.rules] })),
      ),
    ],
    targetGroups: [targetGroup('web', { targets })],
  }
}

t.test('a new target is healthy after one success, a failed one after the threshold', async (t) => {
  const { check, servers, states } = start(t, stateOf(target(1), target(2)))
  t.strictSame(states(), ['initial', 'initial'])
  t.strictSame(servers().slice(0, 2), ['ready', 'ready'], 'without a healthy target, all receive requests')
  await check(target(1))
  t.strictSame(states(), ['healthy', 'initial'])
  t.strictSame(servers().slice(0, 3), ['ready', 'drain', undefined], 'it may finish earlier requests')
  await check(target(2), failure)
  t.strictSame(states(), ['healthy', 'initial'])
  await check(target(2), failure)
  t.strictSame(states(), ['healthy', 'unhealthy'])
  t.strictSame(servers().slice(0, 2), ['ready', 'drain'])
  await check(target(2))
  t.strictSame(states(), ['healthy', 'unhealthy'])
  await check(target(2), failure)
  await check(target(2))
  await check(target(2))
  t.strictSame(states(), ['healthy', 'healthy'], 'only successes in a row count')
})

t.test('a target keeps its place while others come and go', async (t) => {
  const { check, servers, states, targets } = start(t, stateOf(target(1), target(2)))
  await check(target(1))
  await check(target(2))
  targets.update(stateOf(target(2), target(3)))
  t.strictSame(states(), ['draining', 'healthy', 'initial'])
  t.strictSame(servers().slice(0, 3), ['drain', 'ready', 'drain'])
  targets.update(stateOf(target(1), target(2), target(3)))
  t.strictSame(states(), ['initial', 'healthy', 'initial'], 'a draining target can be registered again')
  t.equal(servers().length, 8)
  targets.update(stateOf(...Array.from({ length: 9 }, (_value, index) => target(index + 1))))
  t.equal(servers().length, 16)
  t.match(targets.serversOf(groupArn('web'))[1], { address: '10.0.33.2', state: 'ready' })
})

t.test('the targets of an unused group are not checked, and do not drain', async (t) => {
  const unused = { ...stateOf(target(1)), loadBalancers: [] }
  const { states, targets } = start(t, unused)
  t.match(targets.healthOf(groupArn('web')), [{ state: 'unused', reason: 'Target.NotInUse' }])
  targets.update(stateOf(target(1)))
  t.strictSame(states(), ['initial'])
  targets.update(unused)
  t.strictSame(states(), ['unused'])
  targets.update({ ...stateOf(), loadBalancers: [] })
  t.strictSame(states(), [])
  targets.update({ loadBalancers: [], targetGroups: [] })
  t.equal(states(), undefined)
})

t.test('matchers are lists of codes and ranges', async (t) => {
  for (const [matcher, code, matches] of [
    ['200', 200, true],
    ['200', 201, false],
    ['200,302', 302, true],
    ['200-299,404', 250, true],
    ['200-299,404', 404, true],
    ['200-299,404', 300, false],
  ] as const) {
    t.equal(matchesCode(matcher, code), matches, `${code} in ${matcher}`)
  }
})
