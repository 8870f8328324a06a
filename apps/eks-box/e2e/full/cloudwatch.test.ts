/**
 * The alarms stack in a box of its own: apply, an empty second plan, a change, a night of sleep, destroy. The stacks `data`
 * and `network` have tests of their own; here, their states name resources that the AWS CLI creates.
 */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CLUSTER_NAME } from '../../src/cluster.ts'
import { eventually, operate } from '../operator.ts'

const { config, make, aws, kubectl } = await operate('e2e-cloudwatch', 25_700)
const directory = t.testdir()

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})

await make('box')

const systemNodes = {
  min_size: 0,
  desired_size: 2,
  ...(process.arch === 'x64' ? { instance_type: 't3.small', ami_type: 'AL2023_x86_64_STANDARD' } : {}),
}

/** An option of `make` that sets a variable to a value. */
const variable = (name: string, value: unknown) => `'-var=${name}=${JSON.stringify(value)}'`

/** Writes a state with outputs, and returns where it is, as the stack reads it. */
function stateOf(stack: string, outputs: Record<string, Record<string, string> | string>) {
  const path = join(directory, `${stack}.tfstate`)
  const typed = Object.entries(outputs).map(([name, value]) => {
    const keys = typeof value === 'string' ? [] : Object.keys(value)
    const type =
      typeof value === 'string'
        ? 'string'
        : ['object', Object.fromEntries(keys.map((key) => [key, 'string']))]
    return [name, { value, type }]
  })
  const state = {
    ...{ version: 4, terraform_version: '1.11.0', serial: 1, lineage: stack, resources: [] },
    outputs: Object.fromEntries(typed),
  }
  writeFileSync(path, JSON.stringify(state))
  return { backend: 'local', config: { path } }
}

await make('apply', { STACK: 'cluster', ARGS: variable('system_nodes', systemNodes) })

const subnets = await aws('ec2', 'describe-subnets', '--query', 'Subnets[:2]')
const [{ SubnetId, VpcId }] = subnets
const subnetIds: string[] = subnets.map((subnet: { SubnetId: string }) => subnet.SubnetId)
await aws(
  ...['rds', 'create-db-subnet-group', '--db-subnet-group-name', 'checked'],
  ...['--db-subnet-group-description', 'checked', '--subnet-ids', ...subnetIds],
)
const { Address } = await aws(
  ...['rds', 'create-db-instance', '--db-instance-identifier', 'checked', '--engine', 'postgres'],
  ...['--db-subnet-group-name', 'checked'],
  ...['--db-instance-class', 'db.t4g.micro', '--allocated-storage', '20'],
  ...['--master-username', 'checked', '--manage-master-user-password'],
  ...['--query', 'DBInstance.Endpoint'],
)
const { AllocationId } = await aws('ec2', 'allocate-address', '--domain', 'vpc')
const { NatGateway } = await aws(
  ...['ec2', 'create-nat-gateway', '--subnet-id', SubnetId, '--allocation-id', AllocationId],
)
const states = {
  cluster: {
    backend: 'local',
    config: { path: join(config.stateDir, 'terraform', 'cluster.tfstate') },
  },
  data: stateOf('data', { database: { host: Address }, cache: { replication_group_id: 'checked' } }),
  network: stateOf('network', { vpc_id: VpcId }),
}
const sleep = { from: '20:00', until: '07:00', timezone: 'Europe/Berlin' }
const complete = {
  STACK: 'alarms',
  ARGS: [
    variable('states', states),
    variable('sleep', sleep),
    variable('emails', ['somebody@example.com']),
  ].join(' '),
}

interface Alarm {
  AlarmName: string
  AlarmActions: string[]
  ActionsEnabled: boolean
  TreatMissingData: string
}

const alarms = async () => (await aws('cloudwatch', 'describe-alarms', '--query', 'MetricAlarms')) as Alarm[]
const shortNames = (list: Alarm[]) =>
  list.map(({ AlarmName }) => AlarmName.replace(`${CLUSTER_NAME}-`, '')).sort()
const ofLoadBalancer = [
  'latency',
  'load-balancer-errors',
  'no-healthy-target',
  'service-errors',
  'unhealthy-targets',
]

await t.test('without other stacks, the load balancers are watched', async (t) => {
  t.match(await make('apply', { STACK: 'alarms' }), /^applied alarms \(local\)/m)
  t.strictSame(shortNames(await alarms()), ofLoadBalancer)
  t.match(await make('plan', { STACK: 'alarms' }), /alarms \(local\): no changes/)
})

await t.test('a change adds what another stack has created', async (t) => {
  t.match(await make('apply', complete), /to add, 1 to change, 0 to replace, 0 to destroy/)
  const list = await alarms()
  const others = shortNames(list).filter((name) => !ofLoadBalancer.includes(name))
  t.strictSame(others, [
    'cache-evictions',
    'cache-replica-lag',
    'database-connections',
    'database-cpu',
    'database-storage',
    `nat-ports-${NatGateway.NatGatewayId}`,
    'sleep-failed',
  ])
  const topic = await aws('sns', 'list-topics', '--query', 'Topics[0].TopicArn', '--output=text')
  t.ok(
    list.every(({ AlarmActions }) => AlarmActions[0] === topic),
    'all alarms notify the topic',
  )
  t.match(await make('plan', complete), /alarms \(local\): no changes/)
})

interface Target {
  Arn: string
  Input: string
}

/** Renames the keys of an object, at all depths. */
function renameKeys(value: unknown, rename: (key: string) => string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [rename(key), renameKeys(item, rename)]),
  )
}

/** The names of parameters in the service's own API. The scheduler has the names of its SDK. */
const apiNames: Record<string, (key: string) => string> = {
  eks: (key) => key.charAt(0).toLowerCase() + key.slice(1),
  rds: (key) => key.replace(/^Db/, 'DB'),
}

/** Makes the call of a schedule, as the scheduler would. The emulated one does not run schedules. */
async function run(step: string): Promise<void> {
  const named = ['--group-name', `${CLUSTER_NAME}-sleep`, '--name', step]
  const { Arn, Input }: Target = await aws('scheduler', 'get-schedule', ...named, '--query', 'Target')
  const [service = '', action = ''] = Arn.split(':').slice(-2)
  const input = JSON.parse(Input)
  if (service === 'ssm') {
    t.equal(input.DocumentName, 'AWS-TerminateEC2Instance')
    // The emulated account has no Automation: these are the runbook's own calls.
    const [{ Key, Values }] = input.Targets
    const found = await aws(
      ...['ec2', 'describe-instances', '--filters', `Name=${Key},Values=${Values}`],
      ...['--query', 'Reservations[].Instances[].InstanceId'],
    )
    await aws('ec2', 'terminate-instances', '--instance-ids', ...found)
    return
  }
  const command = action.replace('DB', 'Db').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
  const parameters = renameKeys(input, apiNames[service] ?? ((key) => key))
  await aws(service, command, '--cli-input-json', JSON.stringify(parameters))
}

const nodes = async () => (await kubectl('get', 'nodes', '--output=name')).split('\n').filter(Boolean)
const databaseStatus = () =>
  aws('rds', 'describe-db-instances', '--query', 'DBInstances[0].DBInstanceStatus', '--output=text')
const silent = async () => shortNames((await alarms()).filter(({ ActionsEnabled }) => !ActionsEnabled))

await t.test('the environment sleeps at night and is the same in the morning', async (t) => {
  // As Karpenter tags what it launches. Without the cluster's own tag, the box starts no node for it.
  const tags = (key: string) => `ResourceType=instance,Tags=[{Key=${key},Value=${CLUSTER_NAME}}]`
  const launch = (key: string) =>
    aws(
      ...['ec2', 'run-instances', '--instance-type', systemNodes.instance_type ?? 't4g.small'],
      ...['--subnet-id', SubnetId, '--tag-specifications', tags(key)],
      ...['--query', 'Instances[0].InstanceId', '--output=text'],
    ) as Promise<string>
  const ofKarpenter = await launch('eks:eks-cluster-name')
  const foreign = await launch('somebody/else')
  const running = (id: string) =>
    aws(
      ...['ec2', 'describe-instances', '--instance-ids', id],
      ...['--query', 'Reservations[0].Instances[0].State.Name', '--output=text'],
    )

  for (const step of ['alarms-off', 'system-nodes-off']) await run(step)
  await eventually('no system node is left', async () => ((await nodes()).length === 0 ? true : undefined))
  for (const step of ['karpenter-nodes-off', 'database-off']) await run(step)
  await eventually('the instance of Karpenter is terminated', async () =>
    (await running(ofKarpenter)) === 'terminated' ? true : undefined,
  )
  t.equal(await running(foreign), 'running', "other instances stay, such as the account's own")
  t.equal(await databaseStatus(), 'stopped')
  t.strictSame(await silent(), ofLoadBalancer)
  t.match(await make('plan', complete), /alarms \(local\): no changes/, 'an apply would not wake it up')

  // EKS refuses an update during another one.
  const cluster = ['--cluster-name', CLUSTER_NAME]
  const [group] = await aws('eks', 'list-nodegroups', ...cluster, '--query', 'nodegroups')
  await aws('eks', 'wait', 'nodegroup-active', ...cluster, '--nodegroup-name', group)
  for (const step of ['database-on', 'system-nodes-on', 'alarms-on']) await run(step)
  await eventually('two system nodes are back', async () => ((await nodes()).length === 2 ? true : undefined))
  await eventually('the database is available', async () =>
    (await databaseStatus()) === 'available' ? true : undefined,
  )
  t.strictSame(await silent(), [])
  const asApplied = { STACK: 'cluster', ARGS: variable('system_nodes', systemNodes) }
  t.match(await make('plan', asApplied), /cluster \(local\): no changes/)
})

await t.test('destroy leaves nothing, and does not touch the cluster', async (t) => {
  await make('destroy', { STACK: 'alarms' })
  t.strictSame(await alarms(), [])
  for (const [what, query] of Object.entries({
    topics: ['sns', 'list-topics', '--query', 'Topics'],
    dashboards: ['cloudwatch', 'list-dashboards', '--query', 'DashboardEntries'],
    schedules: ['scheduler', 'list-schedules', '--query', 'Schedules'],
    roles: ['iam', 'list-roles', '--query', `Roles[?contains(RoleName, 'sleep')]`],
  })) {
    t.strictSame(await aws(...query), [], what)
  }
  t.equal((await nodes()).length, 2)
})
