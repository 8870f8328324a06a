import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { type Price, type Prices, PRICES as RECORDED } from 'shared/prices'
import t from 'tap'
import { type CostLine, renderCost } from './bill.ts'
import { monthlyCost } from './cost.ts'
import type { CostPlan, PlannedModule, PlannedResource } from './plan.ts'

const price = (usd: number, per: string, seen = ['one', 'another']): Price => ({
  usd,
  per,
  offer: 'offer',
  seen,
})

/** Round figures, to make the tests easy to check by hand. */
const PRICES: Prices = {
  region: 'eu-central-1',
  prices: {
    eksStandardSupport: price(0.1, 'hour'),
    eksExtendedSupport: price(0.6, 'hour'),
    gp3: price(0.1, 'GiB-month'),
    kmsKey: price(1, 'month'),
    logsIngested: price(0.5, 'GB'),
    logsStored: price(0.01, 'GB-month'),
    ecrStored: price(0.1, 'GB-month'),
    s3Stored: price(0.02, 'GB-month'),
    alarmMetric: price(0.1, 'month'),
    alb: price(0.02, 'hour'),
    millionObservations: price(0.2, 'million'),
    publicIpv4: price(0.005, 'hour'),
    natGateway: price(0.05, 'hour'),
    interfaceEndpoint: price(0.01, 'hour'),
    rdsGp3: price(0.1, 'GiB-month'),
    rdsGp3MultiAz: price(0.2, 'GiB-month'),
    secret: price(0.4, 'month'),
    route53Zone: price(0.5, 'month'),
    wafWebAcl: price(5, 'month'),
    wafRule: price(1, 'month'),
  },
  instances: { 't4g.small': price(0.01, 'hour') },
  databases: {
    'db.t4g.micro postgres Single-AZ': price(0.02, 'hour'),
    'db.t4g.micro postgres Multi-AZ': price(0.04, 'hour'),
  },
  cacheNodes: { 'cache.t4g.micro valkey': price(0.01, 'hour') },
  standardSupportEnds: { '1.35': '2027-03-27' },
}

const DAY = new Date('2026-11-21T12:00:00Z')

function resource(
  type: string,
  values: Record<string, unknown> = {},
  rest: Partial<PlannedResource> = {},
): PlannedResource {
  return { address: `${type}.this`, mode: 'managed', type, name: 'this', values, ...rest }
}

const CLUSTER = resource('aws_eks_cluster', {
  name: 'c',
  version: '1.35',
  enabled_cluster_log_types: ['audit', 'api'],
})

const NODE_GROUP = resource(
  'aws_eks_node_group',
  { capacity_type: 'ON_DEMAND', instance_types: ['t4g.small'], scaling_config: [{ desired_size: 2 }] },
  { address: 'module.eks.aws_eks_node_group.this["system"]', index: 'system' },
)

function launchTemplate(index: string, devices: object[]): PlannedResource {
  return resource(
    'aws_launch_template',
    { block_device_mappings: devices },
    { address: `module.eks.aws_launch_template.this["${index}"]`, index },
  )
}

const gp3 = (gib: number) => ({ ebs: [{ volume_size: gib, volume_type: 'gp3' }] })

function planOf(resources: PlannedResource[], rest: Partial<CostPlan> = {}): CostPlan {
  return {
    variables: { region: { value: 'eu-central-1' } },
    planned_values: { root_module: { resources } },
    ...rest,
  }
}

function cost(...resources: PlannedResource[]): CostLine[] {
  return monthlyCost([planOf(resources)], PRICES, DAY)
}

/** A line's item, quantity and US dollars per month. */
function brief(lines: CostLine[]): [string, number, number][] {
  const round = (value: number) => Number(value.toFixed(4))
  return lines.map(({ item, quantity, usd }) => [item, round(quantity), round(usd)])
}

t.test('a control plane is charged for 730 hours per month', async (t) => {
  t.strictSame(brief(cost(CLUSTER)), [['EKS control plane 1.35, standard support to 2027-03-27', 1, 73]])
})

t.test('a Kubernetes version in extended support costs six times as much', async (t) => {
  const on = (day: string) => brief(monthlyCost([planOf([CLUSTER])], PRICES, new Date(day)))
  t.match(on('2027-03-27'), [[/standard support/, 1, 73]])
  t.strictSame(on('2027-03-28'), [['EKS control plane 1.35, extended support', 1, 438]])
})

t.test('a cluster that stays in standard support is upgraded instead, at the same price', async (t) => {
  const cluster = resource('aws_eks_cluster', {
    version: '1.35',
    upgrade_policy: [{ support_type: 'STANDARD' }],
  })
  t.match(brief(monthlyCost([planOf([cluster])], PRICES, new Date('2027-03-28'))), [
    [/standard support/, 1, 73],
  ])
})

t.test('a Kubernetes version without a support date is reported', async (t) => {
  t.throws(() => cost(resource('aws_eks_cluster', { version: '1.99' })), {
    message: /standard support of Kubernetes 1\.99/,
  })
})

t.test('a node group costs its desired number of nodes and their root volumes', async (t) => {
  t.strictSame(brief(cost(NODE_GROUP, launchTemplate('system', [gp3(30)]))), [
    ['nodes, t4g.small on demand', 2, 14.6],
    ['root volumes of the nodes, gp3', 60, 6],
  ])
})

t.test(
  "without a mapping in its launch template, a node has a root volume of the image's size",
  async (t) => {
    const volumes = (...templates: PlannedResource[]) => cost(NODE_GROUP, ...templates)[1]?.quantity
    t.equal(volumes(), 40)
    t.equal(volumes(launchTemplate('system', [])), 40)
    t.equal(volumes(launchTemplate('other', [gp3(500)])), 40)
  },
)

t.test('an instance type or volume type without a price is reported', async (t) => {
  const large = { ...NODE_GROUP, values: { ...NODE_GROUP.values, instance_types: ['m7g.large'] } }
  t.throws(() => cost(large), { message: 'prices.json has no price for m7g.large in eu-central-1' })
  const io2 = { ebs: [{ volume_size: 20, volume_type: 'io2' }] }
  t.throws(() => cost(NODE_GROUP, launchTemplate('system', [io2])), { message: /volume of type io2/ })
})

t.test('spot nodes are refused: their price changes all the time', async (t) => {
  const spot = { ...NODE_GROUP, values: { ...NODE_GROUP.values, capacity_type: 'SPOT' } }
  t.throws(() => cost(spot), { message: /aws_eks_node_group\.this\["system"\] is not on demand/ })
})

t.test('each KMS key costs the monthly price', async (t) => {
  t.strictSame(brief(cost(resource('aws_kms_key'))), [['KMS key aws_kms_key.this', 1, 1]])
})

t.test("the control plane's logs are estimated by type, for ingestion and for storage", async (t) => {
  const group = resource('aws_cloudwatch_log_group', { name: '/aws/eks/c/cluster', retention_in_days: 365 })
  const [, ...lines] = cost(CLUSTER, group)
  t.strictSame(brief(lines), [
    ['control plane logs, ingested', 11, 5.5],
    ['control plane logs, kept 365 days', 132, 1.32],
  ])
  t.equal(lines[0]?.assumption, '11 GB a month at rest (audit, api)')
})

t.test("the pods' logs are estimated together", async (t) => {
  const group = resource('aws_cloudwatch_log_group', { name: '/aws/eks/c/pods', retention_in_days: 365 })
  const [, ...lines] = cost(CLUSTER, group)
  t.strictSame(
    lines.map(({ item, quantity }) => [item, quantity]),
    [
      ['pod logs, ingested', 1],
      ['pod logs, kept 365 days', 12],
    ],
  )
})

t.test('a log group without an estimate is reported', async (t) => {
  t.throws(() => cost(resource('aws_cloudwatch_log_group', { name: '/other', retention_in_days: 7 })), {
    message: /how much is logged to aws_cloudwatch_log_group\.this/,
  })
})

t.test('Container Insights are charged by observation, not by log', async (t) => {
  const group = resource('aws_cloudwatch_log_group', { name: '/aws/containerinsights/c/performance' })
  const lines = cost(group)
  t.strictSame(brief(lines), [['Container Insights', 43.8, 8.76]])
  t.match(lines[0]?.assumption, /^1,000 observations a minute/)
})

t.test('alarms cost their number of metrics, in one line', async (t) => {
  const alarm = (metrics: number) =>
    resource('aws_cloudwatch_metric_alarm', { metric_query: Array.from({ length: metrics }, () => ({})) })
  const dashboard = resource('aws_cloudwatch_dashboard')
  t.strictSame(brief(cost(alarm(1), alarm(2), dashboard)), [['CloudWatch alarms', 3, 0.3]])
})

const CACHE = {
  engine: 'valkey',
  node_type: 'cache.t4g.micro',
  num_cache_clusters: 2,
  snapshot_retention_limit: 0,
}

const cacheGroup = (values: Record<string, unknown> = {}) =>
  resource('aws_elasticache_replication_group', { ...CACHE, ...values })

const alarmOn = (name: string, expression?: string) =>
  resource('aws_cloudwatch_metric_alarm', { metric_query: [{ expression }] }, { index: name })

t.test('an alarm on the cache reads a metric of each of its nodes', async (t) => {
  const query = 'SELECT SUM(Evictions) FROM SCHEMA("AWS/ElastiCache", CacheClusterId)'
  const [alarms] = cost(alarmOn('cache-evictions', query), alarmOn('latency', 'SELECT 1'), cacheGroup())
  t.equal(alarms?.quantity, 3)
  t.equal(cost(alarmOn('cache-evictions', query))[0]?.quantity, 1, 'without the plan of the cache')
})

t.test('each NAT has an alarm, also if the plan of the alarms does not know it yet', async (t) => {
  const nats = [resource('aws_nat_gateway'), resource('aws_nat_gateway')]
  const alarms = (...planned: PlannedResource[]) =>
    cost(...nats, ...planned).find(({ item }) => item === 'CloudWatch alarms')?.quantity
  t.equal(alarms(alarmOn('latency')), 3)
  t.equal(alarms(alarmOn('latency'), alarmOn('nat-ports/nat-1')), 3)
  t.equal(alarms(), undefined, 'without the stack of the alarms there are none')
})

t.test('a repository is charged for the images that its lifecycle policy keeps', async (t) => {
  const policy = (...rules: object[]) =>
    resource('aws_ecr_lifecycle_policy', { repository: 'app', policy: JSON.stringify({ rules }) })
  const tagged = { selection: { tagStatus: 'tagged', countType: 'imageCountMoreThan', countNumber: 10 } }
  const repository = resource('aws_ecr_repository', { name: 'app' })
  t.strictSame(brief(cost(repository, policy(tagged))), [['ECR, 10 images', 1.08, 0.108]])
  t.throws(() => cost(repository, policy()), { message: /the number of tagged images to keep/ })
  t.throws(() => cost(repository), { message: /the number of images to keep/ })
})

t.test('the state bucket costs next to nothing', async (t) => {
  t.strictSame(brief(cost(resource('aws_s3_bucket'))), [['S3 aws_s3_bucket.this', 1, 0.02]])
})

t.test('an ALB with an address in each public subnet is assumed for the Ingress', async (t) => {
  const tag = (key: string) => resource('aws_ec2_tag', { key })
  const lines = cost(
    tag('kubernetes.io/role/elb'),
    tag('kubernetes.io/role/elb'),
    tag('karpenter.sh/discovery'),
  )
  t.strictSame(brief(lines), [
    ['Application Load Balancer', 1, 14.6],
    ['public IPv4 addresses of the load balancer', 2, 7.3],
  ])
  t.ok(lines.every(({ assumption }) => assumption))
})

const subnet = (availability_zone: string, tags: Record<string, string> = {}) =>
  resource('aws_subnet', { availability_zone, tags })

t.test(
  'the addresses of the ALB are in the public subnets of the network, if its plan is there',
  async (t) => {
    const network = planOf(['a', 'b'].map((zone) => subnet(zone, { 'kubernetes.io/role/elb': '1' })))
    const tag = resource('aws_ec2_tag', { key: 'kubernetes.io/role/elb' })
    t.strictSame(brief(monthlyCost([network, planOf([tag, tag, tag])], PRICES, DAY)), [
      ['Application Load Balancer', 1, 14.6],
      ['public IPv4 addresses of the load balancer', 2, 7.3],
    ])
  },
)

t.test('a NAT gateway and each reserved address cost by the hour', async (t) => {
  t.strictSame(brief(cost(resource('aws_nat_gateway'), resource('aws_eip'))), [
    ['NAT gateway', 1, 36.5],
    ['public IPv4 address aws_eip.this', 1, 3.65],
  ])
})

t.test('a NAT instance costs the instance and its volume', async (t) => {
  const nat = (root: object) =>
    resource('aws_instance', { instance_type: 't4g.small', root_block_device: [root] })
  t.strictSame(brief(cost(nat({ volume_size: 8, volume_type: 'gp3' }))), [
    ['aws_instance.this, t4g.small on demand', 1, 7.3],
    ['root volume of aws_instance.this, gp3', 8, 0.8],
  ])
  t.throws(() => cost(nat({ volume_size: 8, volume_type: 'io2' })), { message: /volume of type io2/ })
  t.throws(() => cost(nat({})), { message: /the size of the root volume/ })
})

t.test('an interface endpoint costs in each zone; a gateway endpoint is free', async (t) => {
  const endpoint = (vpc_endpoint_type: string) => resource('aws_vpc_endpoint', { vpc_endpoint_type })
  const subnets = ['a', 'a', 'b', 'b'].map((zone) => subnet(zone))
  t.strictSame(brief(cost(...subnets, endpoint('Gateway'), endpoint('Interface'))), [
    ['interface endpoint aws_vpc_endpoint.this', 2, 14.6],
  ])
})

t.test('flow logs are estimated by the traffic that they record', async (t) => {
  const inVpc = (type: string, values: Record<string, unknown>) =>
    resource(type, values, { address: `module.vpc.${type}.this[0]` })
  const group = inVpc('aws_cloudwatch_log_group', { name: '/aws/vpc-flow-log/c', retention_in_days: 365 })
  const [ingested, kept] = cost(group, inVpc('aws_flow_log', { traffic_type: 'REJECT' }))
  t.strictSame(brief([ingested, kept].flatMap((line) => line ?? [])), [
    ['flow logs, ingested', 0.1, 0.05],
    ['flow logs, kept 365 days', 1.2, 0.012],
  ])
  t.equal(ingested?.assumption, '0.1 GB a month at rest (REJECT)')
})

const DATABASE = {
  engine: 'postgres',
  instance_class: 'db.t4g.micro',
  multi_az: false,
  storage_type: 'gp3',
  allocated_storage: 20,
  performance_insights_retention_period: 7,
}

const database = (values: Record<string, unknown> = {}) =>
  resource('aws_db_instance', { ...DATABASE, ...values })

t.test('a database costs its instance and its storage, by the number of zones', async (t) => {
  t.strictSame(brief(cost(database())), [
    ['database, db.t4g.micro postgres Single-AZ', 1, 14.6],
    ['storage of the database, gp3 Single-AZ', 20, 2],
  ])
  t.strictSame(brief(cost(database({ multi_az: true }))), [
    ['database, db.t4g.micro postgres Multi-AZ', 1, 29.2],
    ['storage of the database, gp3 Multi-AZ', 20, 4],
  ])
})

t.test('what costs extra on a database is reported', async (t) => {
  const refused: [Record<string, unknown>, RegExp][] = [
    [{ instance_class: 'db.r8g.large' }, /no price for db\.r8g\.large postgres Single-AZ/],
    [{ engine: 'mysql' }, /no price for db\.t4g\.micro mysql Single-AZ/],
    [{ storage_type: 'io2' }, /volume of type io2/],
    [{ performance_insights_retention_period: 93 }, /performance data for more than 7 days/],
    [{ database_insights_mode: 'advanced' }, /performance data for more than 7 days/],
    [{ monitoring_interval: 60 }, /enhanced monitoring/],
  ]
  for (const [values, message] of refused) t.throws(() => cost(database(values)), { message })
})

t.test('each secret has a price, also that of the master user, which RDS manages', async (t) => {
  const [, , secrets] = cost(
    database({ manage_master_user_password: true }),
    resource('aws_secretsmanager_secret'),
    resource('aws_secretsmanager_secret'),
    resource('aws_secretsmanager_secret_version'),
  )
  t.match(secrets, { item: 'secrets in Secrets Manager', quantity: 3 })
})

t.test("the database's log is small at rest; an upgrade is not at rest", async (t) => {
  const group = (type: string) =>
    resource('aws_cloudwatch_log_group', { name: `/aws/rds/instance/c/${type}`, retention_in_days: 365 })
  t.strictSame(brief(cost(group('postgresql'), group('upgrade'))), [
    ['logs of the database, ingested', 0.01, 0.005],
    ['logs of the database, kept 365 days', 0.12, 0.0012],
  ])
})

t.test('the sizes that the environments use have prices', async (t) => {
  for (const environment of ['dev', 'staging', 'prod']) {
    const file = join(REPOSITORY_ROOT, 'infrastructure-hcl', 'environments', environment, 'data.tfvars')
    const text = readFileSync(file, 'utf8')
    const chosen = (name: string) => new RegExp(`${name} *= *"?([\\w.]+)"?`).exec(text)?.[1]
    const zones = chosen('multi_az') === 'true' ? 'Multi-AZ' : 'Single-AZ'
    t.ok(RECORDED.databases[`${chosen('instance_class')} postgres ${zones}`], `database of ${environment}`)
    t.ok(RECORDED.cacheNodes[`${chosen('node_type')} valkey`], `cache of ${environment}`)
  }
})

t.test('a cache costs its nodes', async (t) => {
  t.strictSame(brief(cost(cacheGroup())), [['cache, cache.t4g.micro valkey', 2, 14.6]])
  t.throws(() => cost(cacheGroup({ engine: 'redis' })), { message: /no price for cache\.t4g\.micro redis/ })
  t.throws(() => cost(cacheGroup({ snapshot_retention_limit: 1 })), { message: /has snapshots/ })
})

const schedule = (name: string, at: string, days: string) =>
  resource('aws_scheduler_schedule', { name, schedule_expression: `cron(${at} ? * ${days} *)` })

t.test('what the schedules put to sleep costs only while it is awake', async (t) => {
  const nights = [
    ...[schedule('system-nodes-off', '0 20', 'MON-FRI'), schedule('system-nodes-on', '0 8', 'MON-FRI')],
    ...[schedule('database-off', '0 20', 'SUN-SAT'), schedule('database-on', '0 8', 'SUN-SAT')],
  ]
  const lines = cost(NODE_GROUP, launchTemplate('system', [gp3(20)]), database(), ...nights)
  // Monday to Friday from 8 to 20 are 60 of 168 hours, and half of each day 84.
  t.strictSame(
    lines.map(({ item, quantity }) => [item, Number(quantity.toFixed(3))]),
    [
      ['nodes, t4g.small on demand', 0.714],
      ['root volumes of the nodes, gp3', 14.286],
      ['database, db.t4g.micro postgres Single-AZ', 0.5],
      ['storage of the database, gp3 Single-AZ', 20],
    ],
  )
  t.match(lines[0]?.assumption, "the system nodes asleep for 108 of the week's 168 hours")
})

t.test("Karpenter's node for monitoring sleeps with the system nodes", async (t) => {
  const off = schedule('system-nodes-off', '30 22', 'MON,WED')
  const on = schedule('system-nodes-on', '30 4', 'TUE,THU')
  const release = resource('helm_release', { name: 'kube-prometheus-stack', values: ['storage: 10Gi\n'] })
  const [node, root, volumes] = cost(release, off, on)
  t.strictSame(
    [node, root, volumes].map((line) => Number(line?.quantity.toFixed(3))),
    [0.929, 18.571, 10],
  )
  t.match(node?.assumption, /Karpenter launches for it; the system nodes asleep for 12 of/)
})

t.test('a schedule that is not weekly is reported', async (t) => {
  const monthly = resource('aws_scheduler_schedule', {
    name: 'database-off',
    schedule_expression: 'cron(0 20 1 * ? *)',
  })
  t.throws(() => cost(database(), monthly), { message: /does not contain a weekly schedule/ })
})

t.test('a domain costs its hosted zone once, whatever the number of records', async (t) => {
  const record = resource('aws_route53_record')
  t.match(cost(record, record), [{ item: 'Route 53 hosted zone', usd: 0.5 }])
})

t.test('a web ACL costs itself and its rules; its log of blocked requests is empty at rest', async (t) => {
  const acl = resource('aws_wafv2_web_acl', { rule: [{}, {}, {}, {}] })
  const log = resource('aws_cloudwatch_log_group', { name: 'aws-waf-logs-c' })
  t.match(cost(acl, log), [
    { quantity: 1, usd: 5 },
    { quantity: 4, usd: 4 },
  ])
})

t.test('monitoring costs a Karpenter node and its volumes', async (t) => {
  const values = ['prometheus:\n  requests:\n    storage: 5Gi\n', 'storageClassName: gp3\nstorage: "15Gi"\n']
  t.strictSame(brief(cost(resource('helm_release', { name: 'kube-prometheus-stack', values }))), [
    ['node for monitoring, t4g.small on demand', 1, 7.3],
    ['root volume of the node for monitoring, gp3', 20, 2],
    ['volumes of monitoring, gp3', 20, 2],
  ])
})

t.test('Loki and Tempo cost a volume', async (t) => {
  const values = ['singleBinary:\n  persistence:\n    size: 12Gi\n']
  t.strictSame(brief(cost(resource('helm_release', { name: 'loki', values }))), [
    ['volume of loki, gp3', 12, 1.2],
  ])
  t.throws(() => cost(resource('helm_release', { name: 'tempo', values: [] })), {
    message: /size of its volume/,
  })
})

t.test('a known release costs nothing extra; an unknown one is reported', async (t) => {
  t.strictSame(cost(resource('helm_release', { name: 'karpenter' })), [])
  t.throws(() => cost(resource('helm_release', { name: 'other' })), { message: /the release other/ })
})

t.test('resources of nested modules count, data sources do not', async (t) => {
  const key: PlannedModule = { resources: [resource('aws_kms_key')] }
  const root: PlannedModule = {
    resources: [resource('aws_nat_gateway', {}, { mode: 'data' })],
    child_modules: [{ child_modules: [key] }, key],
  }
  const lines = monthlyCost([planOf([], { planned_values: { root_module: root } })], PRICES, DAY)
  t.strictSame(brief(lines), [['KMS key aws_kms_key.this', 2, 2]])
})

t.test('all types without a rule are reported, so the total is never silently too low', async (t) => {
  t.throws(
    () => cost(CLUSTER, resource('aws_fsx_backup'), resource('aws_efs'), resource('aws_efs')),
    new ActionableError(
      'there is no rule for the cost of aws_efs, aws_fsx_backup',
      'add a rule, or add it to FREE_TYPES, in scripts/src/cost/cost.ts, with its price in prices.json',
    ),
  )
})

t.test('a plan of free resources needs no region', async (t) => {
  const plan: CostPlan = { planned_values: { root_module: { resources: [resource('aws_iam_role')] } } }
  t.strictSame(monthlyCost([plan], PRICES, DAY), [])
})

t.test('a plan that failed part-way is refused', async (t) => {
  t.throws(() => monthlyCost([planOf([CLUSTER], { errored: true })], PRICES, DAY), {
    message: /resources are missing/,
  })
})

t.test('a plan for another region is refused', async (t) => {
  const plan = planOf([CLUSTER], { variables: { region: { value: 'us-east-1' } } })
  t.throws(() => monthlyCost([plan], PRICES, DAY), {
    message: 'the plan is for us-east-1, but the prices are for eu-central-1',
  })
})

t.test("the platform stack's region comes from the cluster stack's state", async (t) => {
  const release = resource('helm_release', { name: 'karpenter' })
  const state = (region: string): CostPlan => ({
    planned_values: { root_module: { resources: [release] } },
    prior_state: {
      values: {
        root_module: {
          resources: [resource('terraform_remote_state', { outputs: { region } }, { mode: 'data' })],
        },
      },
    },
  })
  t.strictSame(monthlyCost([state('eu-central-1')], PRICES, DAY), [])
  t.throws(() => monthlyCost([state('eu-west-1')], PRICES, DAY), { message: /the plan is for eu-west-1/ })
})

t.test('a value that is known only after apply is reported', async (t) => {
  const group = { ...NODE_GROUP, values: { ...NODE_GROUP.values, scaling_config: [{}] } }
  t.throws(() => cost(group), { message: /does not contain the desired size of module\.eks/ })
})

t.test(
  'the table has the most expensive line first, the total, and notes on assumptions and unconfirmed prices',
  async (t) => {
    const lines: CostLine[] = [
      { item: 'small', quantity: 2, price: price(0.5, 'month', ['one']), usd: 1 },
      { item: 'large', quantity: 1, price: price(0.1, 'hour'), usd: 73, assumption: 'why' },
    ]
    const [header, ...rest] = renderCost(lines).split('\n')
    t.match(header, /^ +quantity +unit price +USD\/month$/)
    t.strictSame(rest.slice(0, 6), [
      'large [1]         1   0.1 / hour      73.00',
      'small [?]         2  0.5 / month       1.00',
      'total                                 74.00',
      '',
      '[1] assumed: why',
      '[?] price known from one source only',
    ])
    t.match(rest[6], /^not counted: NAT gateways/)
  },
)
