/**
 * The component `nodes`: makes each instance of the emulated EC2 that belongs to the cluster a node, and removes the
 * Node objects of instances that no longer exist, as EKS's cloud controller does.
 */
import { readFileSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { EC2Client } from '@aws-sdk/client-ec2'
import { DescribeAccessEntryCommand, EKSClient, ResourceNotFoundException } from '@aws-sdk/client-eks'
import { GetInstanceProfileCommand, IAMClient } from '@aws-sdk/client-iam'
import { execa } from 'execa'
import { REGION, readBoxConfig } from 'shared/box'
import { tolerateLostOutput } from 'shared/errors'
import { readAccountKeys } from '../aws/keys.ts'
import { ownClient } from '../aws/own-client.ts'
import { CLUSTER_NAME, PORTS } from '../cluster.ts'
import { kubectl } from '../components/kubectl.ts'
import { accountKeysPath } from '../preparation/credentials.ts'
import { boxPaths, nodePaths } from '../state-directory.ts'
import { buildCapacityWebhook } from './capacity-webhook.ts'
import { type ClusterInstance, ClusterInstances } from './ec2.ts'
import { endPods } from './pod-shutdown.ts'
import { freePodSubnet } from './pod-subnets.ts'
import { RunningNode } from './running-node.ts'
import { exceeds, machineSize, nodeSpec } from './spec.ts'
import { type NodeStatus, writeNodes } from './status.ts'

/** Interval at which the account is checked for changes, in milliseconds. The check itself is a counter's value. */
const interval = 500

tolerateLostOutput()
const config = readBoxConfig(process.env)
const options = ownClient(await readAccountKeys(accountKeysPath(config)))
const eks = new EKSClient(options)
const iam = new IAMClient(options)
const instances = new ClusterInstances(new EC2Client(options), CLUSTER_NAME)

const running = new Map<string, RunningNode>()
/** Instances that do not become nodes, by id. */
const refused = new Map<string, NodeStatus>()
const stopping = new AbortController()

let writing: Promise<void> = Promise.resolve()
function publish(): void {
  const nodes = () => [...[...running.values()].map(({ status }) => status), ...refused.values()]
  writing = writing
    .then(() => writeNodes(config, nodes()))
    // On a full disk the report becomes outdated, but the nodes keep running.
    .catch((error: unknown) => console.error('the status of the nodes cannot be written:', error))
}

/** Why the instance's role may not join the cluster, undefined if it may. On EKS, the kubelet authenticates with it. */
async function roleRefusal(profile: string | undefined): Promise<string | undefined> {
  if (profile === undefined) return 'it has no instance profile'
  const { InstanceProfile } = await iam.send(new GetInstanceProfileCommand({ InstanceProfileName: profile }))
  const principalArn = InstanceProfile?.Roles?.[0]?.Arn
  if (principalArn === undefined) return `its instance profile ${profile} has no role`
  try {
    const { accessEntry } = await eks.send(
      new DescribeAccessEntryCommand({ clusterName: CLUSTER_NAME, principalArn }),
    )
    return accessEntry?.type === 'EC2_LINUX'
      ? undefined
      : `the access entry of ${principalArn} is not for nodes`
  } catch (error) {
    if (!(error instanceof ResourceNotFoundException)) throw error
    return `its role ${principalArn} has no access entry`
  }
}

/** The pods' addresses of an instance, which it keeps for its life. */
async function podSubnet(id: string, data: string, subnet: string): Promise<string> {
  const file = join(data, 'pod-subnet')
  const known = await readFile(file, 'utf8').catch(() => undefined)
  if (known !== undefined) return known
  const others = [...running].filter(([other]) => other !== id).map(([, { spec }]) => spec.podSubnet)
  const chosen = freePodSubnet(subnet, new Set(others))
  await mkdir(data, { recursive: true })
  await writeFile(file, chosen)
  return chosen
}

/** Starts the node of an instance, unless it may not join, does not fit on this machine or cannot be configured. */
async function start(instance: ClusterInstance): Promise<void> {
  const machine = machineSize()
  const details = await instance.details()
  // EC2 may give it the address of a terminated instance that is still shutting down. It starts after that one's end.
  if ([...running.values()].some(({ spec }) => spec.name === details.dnsName)) return
  let reason = await roleRefusal(await instances.giveProfile(instance))
  reason ??= exceeds(details.type, machine)
  if (reason === undefined) {
    try {
      const { data } = nodePaths(config, { instanceId: details.id, name: details.dnsName })
      const subnet = await podSubnet(details.id, data, details.subnet)
      const spec = nodeSpec(details, subnet, machine, REGION)
      refused.delete(instance.id)
      running.set(instance.id, new RunningNode(config, spec, publish))
      return
    } catch (error) {
      // Its user data is invalid, or its subnet has no addresses left: it would fail again.
      reason = error instanceof Error ? error.message : String(error)
    }
  }
  if (refused.get(instance.id)?.message !== reason) {
    console.error(`instance ${instance.id} does not join the cluster: ${reason}`)
  }
  const { id, dnsName, zone, address } = details
  const identity = { name: dnsName, instanceId: id, instanceType: details.type.name, zone, address }
  refused.set(instance.id, { ...identity, state: 'refused', components: [], message: reason })
}

/** Ends a node whose instance was stopped or terminated. As on EC2, its operating system shuts down in order. */
async function end(id: string, node: RunningNode, isTerminated: boolean): Promise<void> {
  await endPods(node.spec.name, administer).catch((error: unknown) =>
    console.error(`${node.spec.name}: its pods end with it:`, error instanceof Error ? error.message : error),
  )
  if (isTerminated) await node.terminate()
  else {
    await node.stop()
    await administer(['uncordon', node.spec.name])
  }
  running.delete(id)
  if (isTerminated) await deleteNode(node.spec.name)
  publish()
}

async function administer(args: readonly string[], input?: string): Promise<string> {
  const [program, ...options] = kubectl(config, ...args)
  return (await execa(program, options, input === undefined ? {} : { input })).stdout
}

async function deleteNode(name: string): Promise<void> {
  await administer(['delete', 'node', name, '--ignore-not-found', '--wait=false'])
}

/** Removes the Node objects and the disks of instances that ended while this component did not run. */
async function collectGarbage(live: ReadonlySet<string>): Promise<void> {
  const { items } = JSON.parse(await administer(['get', 'nodes', '--output=json'])) as {
    items: { metadata: { name: string }; spec: { providerID?: string } }[]
  }
  for (const { metadata, spec } of items) {
    const id = spec.providerID?.split('/').at(-1) ?? ''
    if (id.startsWith('i-') && !live.has(id)) await deleteNode(metadata.name)
  }
  const disks = join(boxPaths(config).data, 'nodes')
  for (const id of await readdir(disks).catch(() => [])) {
    if (!live.has(id)) await rm(join(disks, id), { recursive: true, force: true })
  }
}

const ending = new Map<string, Promise<void>>()
/** Number of nodes that have ended. */
let ended = 0
let hasCollectedGarbage = false

async function reconcile(): Promise<void> {
  const all = await instances.list()
  const live = new Set(all.filter(({ state }) => state !== 'terminated').map(({ id }) => id))
  let failure: unknown
  for (const instance of all) {
    if (instance.state !== 'running' || running.has(instance.id)) continue
    // An instance that cannot be read must not keep the others from starting and ending.
    await start(instance).catch((error: unknown) => {
      failure = error
    })
  }
  for (const [id, node] of running) {
    const state = all.find((instance) => instance.id === id)?.state ?? 'terminated'
    if (state === 'running' || ending.has(id)) continue
    const finished = end(id, node, state === 'terminated')
      .catch((error: unknown) => console.error(`instance ${id}:`, error))
      .finally(() => {
        ending.delete(id)
        ended++
      })
    ending.set(id, finished)
  }
  for (const id of refused.keys()) if (!live.has(id)) refused.delete(id)
  publish()
  if (!hasCollectedGarbage) await collectGarbage(live)
  hasCollectedGarbage = true
  if (failure !== undefined) throw failure
}

/** A value that differs after every change of the account; undefined while the emulated AWS does not respond. */
async function changes(): Promise<string | undefined> {
  const response = await fetch(`http://127.0.0.1:${PORTS.eksWebhooks}/changes`).catch(() => undefined)
  return response?.ok === true ? response.text() : undefined
}

async function follow(): Promise<void> {
  let seen: string | undefined
  let failure: string | undefined
  while (!stopping.signal.aborted) {
    const account = await changes()
    // A node that has ended may be due to start again, or another one with its address.
    const now = `${account} ${ended}`
    if (account !== undefined && now !== seen) {
      try {
        await reconcile()
        seen = now
        failure = undefined
      } catch (error) {
        // It is repeated, for example while the emulated AWS restarts; the log needs it once.
        const message = error instanceof Error ? error.message : String(error)
        if (message !== failure) console.error('the instances cannot be read:', message)
        failure = message
      }
    }
    await sleep(interval, undefined, { signal: stopping.signal }).catch(() => {})
  }
}

const { pki } = boxPaths(config)
const webhook = await buildCapacityWebhook({
  tls: {
    cert: readFileSync(join(pki, 'apiserver.crt'), 'utf8'),
    key: readFileSync(join(pki, 'apiserver.key'), 'utf8'),
  },
  capacityOf: (name) => [...running.values()].find(({ spec }) => spec.name === name)?.spec.capacity,
})
await webhook.listen({ port: PORTS.nodeCapacityWebhook, host: '127.0.0.1' })
const health = createServer((_request, response) => response.end('ok'))
health.listen(PORTS.nodes, '127.0.0.1')
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stopping.abort())
publish()
await follow()
await Promise.all([...running.values()].map((node) => node.stop()))
await writing
process.exit(0)
