import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { kubeconfigPath } from 'shared/box'
import { type Environment, readEnvironment } from 'shared/environment'
import { CONTROLLERS, chartsDirectory } from 'shared/tools'
import t, { type Test } from 'tap'
import { chartArguments, HelmPlatform, upgradeArguments } from './helm-platform.ts'
import { statePath } from './prepare-stack.ts'
import { changeLines, compareReleases, type InstalledRelease, summarizeChanges } from './release-changes.ts'
import type { DescribedRelease } from './releases.ts'

// Each plan runs Terraform, which takes a second on a busy machine.
t.setTimeout(120_000)

const stages = ['foundation', 'controllers']

function described(name: string, changes: Partial<DescribedRelease> = {}): DescribedRelease {
  return {
    stage: 'controllers',
    definitions_of: null,
    install_timeout: 300,
    name,
    namespace: 'kube-system',
    repository: null,
    chart: `/charts/${name}-1.0.0.tgz`,
    version: '1.0.0',
    description: null,
    values: ['replicas: 2\n'],
    skip_crds: false,
    take_ownership: false,
    atomic: true,
    wait: true,
    cleanup_on_fail: true,
    timeout: 300,
    max_history: 5,
    ...changes,
  }
}

function installed(name: string, changes: Partial<InstalledRelease> = {}): InstalledRelease {
  return {
    name,
    namespace: 'kube-system',
    status: 'deployed',
    chart: `${name}-1.0.0`,
    description: 'Upgrade complete',
    values: { replicas: 2 },
    ...changes,
  }
}

t.test('a release that is installed as described does not change', async (t) => {
  t.strictSame(compareReleases({ stages, releases: [described('a')] }, [installed('a')]), [])
})

t.test('a change of version, files, values or status is an upgrade', async (t) => {
  const own = { version: null, description: 'files 2' }
  for (const [release, present, difference] of [
    [described('a'), { chart: 'a-0.9.0' }, 'chart a-0.9.0 to a-1.0.0'],
    [described('a', { chart: 'a', repository: 'oci://r' }), { chart: 'a-0.9.0' }, 'chart a-0.9.0 to a-1.0.0'],
    [described('a', own), { chart: 'a-0.1.0', description: 'files 1' }, "the chart's files"],
    [described('a'), { values: { replicas: 1 } }, 'values'],
    [described('a', { values: [] }), {}, 'values'],
    [described('a'), { status: 'pending-install' }, 'it is pending-install'],
  ] as const) {
    const [change] = compareReleases({ stages, releases: [release] }, [installed('a', present)])
    t.match(change, { action: 'upgrade', differences: [difference] })
  }
})

t.test('releases are installed stage by stage, and obsolete ones uninstalled last, in reverse', async (t) => {
  const releases = [described('controller'), described('definitions', { stage: 'foundation' })]
  const changes = compareReleases({ stages, releases }, [installed('old-definitions'), installed('old')])
  t.strictSame(
    changes.map(({ action, name }) => `${action} ${name}`),
    ['install definitions', 'install controller', 'uninstall old', 'uninstall old-definitions'],
  )
  t.match(summarizeChanges(changes), { add: 2, change: 0, destroy: ['kube-system/old', /old-definitions/] })
  t.strictSame(changeLines(changes), [
    '  install  kube-system/definitions: chart definitions-1.0.0',
    '  install  kube-system/controller: chart controller-1.0.0',
  ])
})

t.test('charts come from a file, a repository or a registry', async (t) => {
  const version = '1.0.0'
  t.strictSame(chartArguments({ repository: null, chart: './charts/a', version: null }, '/stack'), [
    '/stack/charts/a',
  ])
  t.strictSame(chartArguments({ repository: null, chart: 'https://m/a-1.0.0.tgz', version }, '/stack'), [
    'https://m/a-1.0.0.tgz',
  ])
  t.strictSame(chartArguments({ repository: 'oci://r/charts', chart: 'a', version }, '/stack'), [
    ...['oci://r/charts/a', '--version', version],
  ])
  t.strictSame(chartArguments({ repository: 'https://r', chart: 'a', version }, '/stack'), [
    ...['a', '--repo', 'https://r', '--version', version],
  ])
})

t.test("Helm's options are the arguments of the Helm provider", async (t) => {
  const always = [
    ...['upgrade', 'a', '/charts/a-1.0.0.tgz', '--install', '--hide-notes'],
    ...['--reset-values', '--values', '-', '--labels', 'fastify-eks/stage=controllers'],
    ...['--timeout', '300s', '--history-max', '5'],
  ]
  const none = { wait: false, cleanup_on_fail: false }
  t.strictSame(upgradeArguments(described('a', none), '/stack'), always)
  t.strictSame(
    upgradeArguments(described('a', { description: 'files 1', skip_crds: true, take_ownership: true }), '/'),
    [
      ...[...always, '--description', 'files 1', '--skip-crds', '--take-ownership', '--force-conflicts'],
      ...['--wait', '--cleanup-on-fail'],
    ],
  )
})

/**
 * A Helm that keeps a release as a directory with a file for each property, and records the commands that change
 * releases. An upgrade of the release that the file `fails` names fails, and leaves the release behind. One that the file
 * `early` names stops waiting early, once.
 */
const fakeHelm = (directory: string) => `#!/bin/sh -eu
command=$1 name=$2 chart=\${3:-} description='Install complete'
while [ $# -gt 0 ]; do
  case "$1" in
    --namespace) namespace=$2 ;;
    --selector) selector=\${2#*=} ;;
    --labels) stage=\${2#*=} ;;
    --description) description=$2 ;;
  esac
  shift
done
cd '${directory}'
of() { cat "releases/$1/$2"; }
case "$command" in upgrade | uninstall | rollback) echo "$command $name" >> commands ;; esac
case "$command" in
  show) echo 'kind: CustomResourceDefinition' ;;
  list)
    separator=
    printf '['
    for entry in $(ls releases); do
      [ "$(of "$entry" stage)" = "$selector" ] || continue
      printf '%s{"name":"%s","namespace":"%s","status":"%s","chart":"%s"}' "$separator" \\
        "$entry" "$(of "$entry" namespace)" "$(of "$entry" status)" "$(of "$entry" chart)"
      separator=,
    done
    echo ']'
    ;;
  status) printf '{"info":{"description":"%s"},"config":%s}' "$(of "$name" description)" "$(of "$name" values)" ;;
  history) printf '[{"revision":1,"status":"%s"}]' "$(of "$name" status)" ;;
  uninstall) rm -rf "releases/$name" ;;
  upgrade)
    status=deployed cause='context deadline exceeded'
    [ "$(cat fails)" != "$name" ] || status=failed
    if [ "$(cat early)" = "$name" ]; then
      status=failed cause='resource NodePool//nodes not ready. status: InProgress, message: Unknown'
      : > early
    fi
    mkdir -p "releases/$name"
    cat > "releases/$name/values"
    printf %s "$namespace" > "releases/$name/namespace"
    printf %s "$stage" > "releases/$name/stage"
    printf %s "$status" > "releases/$name/status"
    printf %s "$(basename "$chart" .tgz)" > "releases/$name/chart"
    printf %s "$description" > "releases/$name/description"
    [ "$status" = deployed ] || { echo "Error: UPGRADE FAILED: $cause" >&2; exit 1; }
    ;;
esac
`

const cluster = {
  region: 'eu-central-1',
  cluster_name: 'checked-cluster',
  vpc_id: 'vpc-0123456789abcdef0',
  karpenter_queue_name: 'checked-queue',
  karpenter_node_role_name: 'checked-node-role',
  node_subnet_ids: ['subnet-0123456789abcdef0'],
  load_balancer_controller_role_arn: 'arn:aws:iam::123456789012:role/checked-role',
  metrics_server_addon: true,
  deploy_group: 'checked:deploy',
}

const kubeconfig = `apiVersion: v1
kind: Config
current-context: here
clusters: [{ name: c, cluster: { server: "http://127.0.0.1:9", insecure-skip-tls-verify: true } }]
users: [{ name: u, user: {} }]
contexts: [{ name: here, context: { cluster: c, user: u } }]
`

/** A box whose cluster stack is applied. */
function newBox(t: Test) {
  const directory = t.testdir({
    box: { terraform: {} },
    cache: {},
    releases: {},
    commands: '',
    fails: '',
    early: '',
  })
  const at = (name: string) => join(directory, name)
  const local = readEnvironment({ ENV: 'local' })
  const box = { ...local.box, stateDir: at('box'), cacheDir: at('cache') }
  const environment: Environment = { ...local, box }
  writeFileSync(kubeconfigPath(box), kubeconfig)
  const outputs = Object.entries(cluster).map(([name, value]) => {
    const type = Array.isArray(value) ? ['list', 'string'] : typeof value === 'boolean' ? 'bool' : 'string'
    return [name, { value, type }]
  })
  const head = { version: 4, terraform_version: '1.11.0', serial: 1, lineage: 'cluster' }
  const writeState = (outputs: object) =>
    writeFileSync(statePath(box, 'cluster'), JSON.stringify({ ...head, outputs, resources: [] }))
  writeState(Object.fromEntries(outputs))
  for (const controller of CONTROLLERS) mkdirSync(chartsDirectory(box, controller), { recursive: true })
  writeFileSync(at('helm'), fakeHelm(directory), { mode: 0o755 })
  t.intercept(process, 'env', { value: { ...process.env, HELM: at('helm') } })
  return {
    platform: new HelmPlatform(environment),
    commands: () => readFileSync(at('commands'), 'utf8').trim().split('\n'),
    releases: () => readdirSync(at('releases')).sort(),
    values: (name: string) => JSON.parse(readFileSync(at(`releases/${name}/values`), 'utf8')),
    set: (name: string, property: string, value: string) =>
      writeFileSync(at(`releases/${name}/${property}`), value),
    withoutOutputs: () => writeState({}),
    failAt: (name: string) => writeFileSync(at('fails'), name),
    stopEarlyAt: (name: string) => writeFileSync(at('early'), name),
    lock: (process: number) => writeFileSync(join(at('box'), 'terraform', 'platform.lock'), String(process)),
  }
}

const all = [
  'aws-load-balancer-controller',
  'aws-load-balancer-controller-crds',
  'cluster-baseline',
  'external-secrets',
  'external-secrets-crds',
  'karpenter',
  'karpenter-crd',
  'karpenter-nodes',
]

t.test('after an apply, nothing changes; a destroy uninstalls in reverse order', async (t) => {
  const { platform, commands, releases, values, withoutOutputs } = newBox(t)
  t.capture(console, 'log')
  const plan = await platform.plan([])
  t.match(plan.summary, { add: all.length, change: 0, destroy: [] })
  await platform.apply(plan)
  t.strictSame(releases(), all)
  const order = commands().map((command) => command.replace('upgrade ', ''))
  t.strictSame(order.slice(0, 4).sort(), [
    'aws-load-balancer-controller-crds',
    'cluster-baseline',
    'external-secrets-crds',
    'karpenter-crd',
  ])
  t.strictSame(order.slice(4, 7).sort(), ['aws-load-balancer-controller', 'external-secrets', 'karpenter'])
  t.strictSame(order.slice(7), ['karpenter-nodes'])
  t.strictSame(values('aws-load-balancer-controller-crds'), {
    definitions: ['kind: CustomResourceDefinition'],
  })

  t.strictSame((await platform.plan([])).changes, [], 'a second plan is empty')
  t.not((await platform.plan(['-var=controller_replicas=2'])).digest, (await platform.plan([])).digest)

  // As an interrupted destroy of the cluster leaves it.
  withoutOutputs()
  await platform.destroy()
  t.strictSame(releases(), [])
  const uninstalled = commands().slice(all.length)
  t.equal(uninstalled[0], 'uninstall karpenter-nodes')
  t.match(uninstalled.slice(1, 4).sort(), [
    /aws-load-balancer-controller$/,
    /external-secrets$/,
    /karpenter$/,
  ])
})

t.test('only what differs is upgraded', async (t) => {
  const { platform, commands, set } = newBox(t)
  t.capture(console, 'log')
  await platform.apply(await platform.plan([]))
  set('cluster-baseline', 'description', 'files 000000000000')
  const plan = await platform.plan(['-var=controller_replicas=2'])
  t.match(plan.summary, { add: 0, change: 4, destroy: [] })
  t.strictSame([...plan.lines].sort(), [
    '  upgrade  kube-system/aws-load-balancer-controller: values',
    "  upgrade  kube-system/cluster-baseline: the chart's files",
    '  upgrade  kube-system/external-secrets: values',
    '  upgrade  kube-system/karpenter: values',
  ])
  await platform.apply(plan)
  t.equal(commands().length, all.length + 4)
})

t.test('a release that is not described any more is uninstalled', async (t) => {
  const { platform, commands, releases } = newBox(t)
  t.capture(console, 'log')
  const withMonitoring = ['-var=monitoring={enabled=true}']
  await platform.apply(await platform.plan(withMonitoring))
  t.ok(releases().includes('kube-prometheus-stack'))
  const plan = await platform.plan([])
  t.strictSame([...plan.summary.destroy].sort(), [
    'kube-system/prometheus-operator-crds',
    'monitoring/cluster-monitoring',
    'monitoring/kube-prometheus-stack',
  ])
  await platform.apply(plan)
  const uninstalled = commands().slice(-3)
  t.strictSame(uninstalled.slice(0, 2).sort(), [
    'uninstall cluster-monitoring',
    'uninstall kube-prometheus-stack',
  ])
  t.equal(uninstalled[2], 'uninstall prometheus-operator-crds')
})

t.test('a failed release is restored and reported; later stages are not installed', async (t) => {
  const { platform, commands, releases, failAt } = newBox(t)
  t.capture(console, 'log')
  failAt('karpenter')
  await t.rejects(platform.apply(await platform.plan([])), {
    message:
      'platform (local): karpenter was not installed: context deadline exceeded; nothing was deployed before, so the release was uninstalled',
    nextStep: 'fix what Helm reports, then run `make apply STACK=platform` again',
  })
  t.ok(commands().includes('uninstall karpenter'))
  t.strictSame(
    releases(),
    all.filter((name) => !['karpenter', 'karpenter-nodes'].includes(name)),
  )
  failAt('')
  t.match((await platform.plan([])).summary, { add: 2, change: 0 }, 'the next run continues')
})

t.test('if Helm stops waiting early, it waits again', async (t) => {
  const { platform, commands, stopEarlyAt } = newBox(t)
  t.capture(console, 'log')
  stopEarlyAt('karpenter-nodes')
  await platform.apply(await platform.plan([]))
  t.strictSame(commands().slice(-2), ['upgrade karpenter-nodes', 'upgrade karpenter-nodes'])
  t.strictSame((await platform.plan([])).lines, [])
})

t.test('what an interrupted run left pending is ended before the release is installed', async (t) => {
  const { platform, commands, set } = newBox(t)
  t.capture(console, 'log')
  await platform.apply(await platform.plan([]))
  set('karpenter-crd', 'status', 'pending-install')
  set('karpenter-nodes', 'status', 'uninstalling')
  const plan = await platform.plan([])
  t.strictSame(plan.lines, [
    '  upgrade  kube-system/karpenter-crd: it is pending-install',
    '  upgrade  kube-system/karpenter-nodes: it is uninstalling',
  ])
  await platform.apply(plan)
  t.strictSame(commands().slice(all.length), [
    ...['uninstall karpenter-crd', 'upgrade karpenter-crd'],
    ...['uninstall karpenter-nodes', 'upgrade karpenter-nodes'],
  ])
})

t.test('two runs do not change the releases at the same time', async (t) => {
  const { platform, commands, lock } = newBox(t)
  t.capture(console, 'log')
  const plan = await platform.plan([])
  lock(process.pid)
  await t.rejects(platform.apply(plan), {
    message: `platform (local): another run is changing the releases (process ${process.pid})`,
  })
  t.strictSame(commands(), [''])
  lock(2 ** 22 + 1)
  await platform.apply(plan)
  t.equal(commands().length, all.length, 'the lock of a killed run does not count')
})

t.test('an invalid variable is reported with the file to correct', async (t) => {
  const { platform } = newBox(t)
  await t.rejects(platform.plan(['-var=controller_replicas=3']), {
    message: /^platform \(local\): controller_replicas must be 1 or 2/,
    nextStep: /environments\/local\/platform\.tfvars/,
  })
})
