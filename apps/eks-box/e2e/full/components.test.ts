/** Kills every component of a box in turn, with the service deployed: the box restarts each one, and loses nothing. */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import {
  COMPONENT_NAMES,
  NODE_COMPONENT_NAMES,
  type NodeComponentName,
} from '../../src/components/component.ts'
import { readNodes } from '../../src/node/status.ts'
import { operate, WITHOUT_LOAD_SHEDDING } from '../operator.ts'
import { failures, STEADY_CLIENT, startLoad, sum } from '../steady-load.ts'

const values = join(t.testdir(), 'values.json')
writeFileSync(values, JSON.stringify(WITHOUT_LOAD_SHEDDING))
const { environment, config, make, exec, killAndRecover, served } = await operate('e2e-components', 26_200, {
  VALUES: values,
})

const CONTROL_PLANE = ['etcd', 'kube-apiserver', 'kube-scheduler', 'kube-controller-manager'] as const

/** Kills a component of the first node, and waits until the node has restarted it. */
async function killOnNode(name: NodeComponentName): Promise<void> {
  const find = async () => {
    const [node] = await readNodes(config)
    return { node, component: node?.components.find((component) => component.name === name) }
  }
  const before = await find()
  if (before.component === undefined) throw new Error(`${name} is not running`)
  const { instanceId, name: nodeName } = before.node ?? {}
  // Each of them names its node in its arguments, in one of two ways.
  const command = `${name} .*(/${instanceId}/|=${nodeName})`
  await exec('pkill', '--signal=KILL', '--full', command)
  const deadline = Date.now() + 180_000
  for (;;) {
    const { component } = await find()
    if (component?.state === 'ready' && component.restarts > before.component.restarts) return
    if (Date.now() > deadline) throw new Error(`${name} did not come back: ${JSON.stringify(component)}`)
    await sleep(200)
  }
}

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})
for (const target of ['box', 'apply', 'build', 'push', 'deploy']) await make(target)

await t.test('no request fails while each control plane component is killed in turn', async (t) => {
  const service = `http://127.0.0.1:${config.ports.service}/`
  const load = startLoad([STEADY_CLIENT, service, '40', '4'], environment)
  for (const name of CONTROL_PLANE) await killAndRecover(name)
  const results = await load.stop()
  t.strictSame(failures(results), {}, 'no request failed')
  t.ok(sum(results) > 0, `${sum(results)} requests`)
})

await t.test('every other component restarts after it is killed, and one that hangs', async (t) => {
  // The box notices a hang only after several failed probes.
  const hung = killAndRecover('kube-scheduler', 'STOP').catch((error: unknown) => error)
  for (const name of COMPONENT_NAMES.filter((name) => !CONTROL_PLANE.some((other) => other === name))) {
    await killAndRecover(name)
    t.match(await served(), /^200/, `the service responds after ${name} was killed`)
  }
  for (const name of NODE_COMPONENT_NAMES) {
    await killOnNode(name)
    t.match(await served(), /^200/, `the service responds after ${name} was killed on a node`)
  }
  t.equal(await hung, undefined, 'the component that hangs is restarted')
  t.match(await make('status'), /box e2e-components: ready/)
  t.match(await make('plan'), /no changes/, 'the emulated AWS has lost nothing')
})
