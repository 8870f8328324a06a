import { readFileSync, writeFileSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { ECR_REGISTRY, readBoxConfig } from 'shared/box'
import t from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import {
  ADDON_REGISTRY,
  CONTROL_PLANE_IP,
  DNS_SERVICE_IP,
  oidcIssuer,
  PORTS,
  RESOLVER_IP,
  SERVICE_CIDR,
} from '../cluster.ts'
import type { NodeSpec } from '../node/spec.ts'
import { POSTGRES_DATA, POSTGRES_PROGRAMS } from '../preparation/postgres-data.ts'
import { COMPONENT_NAMES, NODE_COMPONENT_NAMES } from './component.ts'
import { components, fingerprint, nodeComponents } from './index.ts'

const config = readBoxConfig({ BOX_STATE_DIR: '/box', BOX_CACHE_DIR: '/cache' })
const built = components(config)
const node: NodeSpec = {
  instanceId: 'i-1',
  name: 'ip-10-0-32-4.eu-central-1.compute.internal',
  address: '10.0.32.4',
  zone: 'eu-central-1a',
  instanceType: 't4g.small',
  podSubnet: '10.0.48.0/24',
  maxPods: 20,
  capacity: { milliCpu: 2000, memoryMiB: 1894 },
  labels: { pool: 'a', 'topology.kubernetes.io/zone': 'eu-central-1a' },
  taints: ['a=b:NoExecute'],
  systemReserved: { milliCpu: 6000, memoryMiB: 100 },
  kubeReserved: { milliCpu: 70, memoryMiB: 475 },
}
const ofNode = nodeComponents(config, node)
const named = (name: string) => {
  const component = [...built, ...ofNode].find((candidate) => candidate.name === name)
  if (component === undefined) throw new Error(`there is no component ${name}`)
  return component
}
const flags = (name: string) => named(name).command.join(' ')
const inNode = (file: string) => join('/box/default/data/nodes/i-1/config', file)
const kubeletConfiguration = () => parse(named('kubelet').files[inNode('kubelet.yaml')] ?? '')

t.test('every component is built, in the order of COMPONENT_NAMES', async (t) => {
  t.strictSame(
    built.map(({ name }) => name),
    COMPONENT_NAMES,
  )
  t.strictSame(
    ofNode.map(({ name }) => name),
    NODE_COMPONENT_NAMES,
  )
})

t.test(
  "a kubelet registers its node with the instance's identity, labels, taints and capacity",
  async (t) => {
    const kubelet = flags('kubelet')
    t.match(kubelet, '--hostname-override=ip-10-0-32-4.eu-central-1.compute.internal')
    t.match(kubelet, '--provider-id=aws:///eu-central-1a/i-1')
    t.match(kubelet, '--node-labels=pool=a,topology.kubernetes.io/zone=eu-central-1a')
    t.match(kubelet, '--register-with-taints=a=b:NoExecute')
    t.match(kubeletConfiguration(), {
      maxPods: 20,
      cgroupRoot: '/eks-box-default/i-1',
      systemReserved: { cpu: '6000m', memory: '100Mi' },
      kubeReserved: { cpu: '70m', memory: '475Mi' },
    })
  },
)

t.test('the dependencies have no cycle', async (t) => {
  const startable = new Set<string>()
  for (let round = 0; round < built.length; round++) {
    for (const { name, dependsOn } of built) {
      if (dependsOn.every((dependency) => startable.has(dependency))) startable.add(name)
    }
  }
  t.equal(startable.size, built.length)
})

t.test('components write only below the state directory', async (t) => {
  for (const { files } of [...built, ...ofNode]) {
    for (const path of Object.keys(files)) t.ok(isAbsolute(path) && path.startsWith('/box/default/'), path)
  }
  const outside = [...built, ...ofNode]
    .flatMap(({ command }) => command)
    .map((argument) => argument.slice(argument.indexOf('=') + 1))
    .filter((value) => value.startsWith('/') && !/^\/(box|cache)\//.test(value))
    // The box mounts its own directory there; see preparePostgres.
    .filter((value) => value !== POSTGRES_DATA && value !== join(POSTGRES_PROGRAMS, 'postgres'))
    // The box mounts its own file system there; see prepareNode.
    .filter((value) => !value.startsWith('/run/'))
    .filter((value) => value !== process.execPath && !value.startsWith(join(import.meta.dirname, '..')))
  t.strictSame(outside, [])
})

t.test('settings that EKS does not let users change have the values of EKS', async (t) => {
  const apiserver = flags('kube-apiserver')
  t.match(apiserver, `--service-cluster-ip-range=${SERVICE_CIDR}`)
  const authorization = parse(named('kube-apiserver').files['/box/default/config/authorization.yaml'] ?? '')
  t.strictSame(
    authorization.authorizers.map(({ type }: { type: string }) => type),
    ['Node', 'RBAC', 'Webhook'],
    'access policies are evaluated after RBAC',
  )
  for (const plugin of ['PodSecurity', 'NodeRestriction', 'ResourceQuota', 'ValidatingAdmissionPolicy']) {
    t.match(apiserver, new RegExp(`--enable-admission-plugins=\\S*\\b${plugin}\\b`))
  }
  t.notMatch(flags('kube-controller-manager'), '--horizontal-pod-autoscaler', 'HPA timing keeps its default')
})

t.test(
  'tokens of service accounts have the issuer of the cluster, and are by default for the API server only',
  async (t) => {
    const apiserver = flags('kube-apiserver')
    t.match(apiserver, `--service-account-issuer=${oidcIssuer(config)}`)
    t.match(apiserver, '--api-audiences=https://kubernetes.default.svc')
  },
)

t.test("pulls from ECR's host go to the box's registry, so image references match production", async (t) => {
  for (const host of [ECR_REGISTRY, ADDON_REGISTRY, 'public.ecr.aws']) {
    const hosts = named('containerd').files[inNode(join('certs.d', host, 'hosts.toml'))]
    t.match(hosts, `[host."http://${CONTROL_PLANE_IP}:${PORTS.registry}"]`)
  }
})

t.test(
  'pods ask CoreDNS by the address of its Service, and CoreDNS asks the resolver of the VPC',
  async (t) => {
    t.strictSame(kubeletConfiguration().clusterDNS, [DNS_SERVICE_IP])
    const manifest = join(import.meta.dirname, '..', '..', 'manifests', 'addons', 'coredns.yaml')
    const objects = parseAllDocuments(readFileSync(manifest, 'utf8')).map((document) => document.toJS())
    const service = objects.find(({ kind }) => kind === 'Service')
    t.equal(service.spec.clusterIP, DNS_SERVICE_IP)
    t.equal(named('kubelet').files[inNode('resolv.conf')], `nameserver ${RESOLVER_IP}\n`)
    t.match(named('resolver').files['/box/default/config/Corefile'], `bind ${RESOLVER_IP}\n`)
  },
)

t.test('no two components are probed on the same port', async (t) => {
  const ports = built.flatMap(({ probe }) => {
    if (probe.kind === 'http') return [new URL(probe.url).port]
    return probe.kind === 'tcp' ? [String(probe.port)] : []
  })
  t.equal(new Set(ports).size, ports.length)
})

t.test('the resolver resolves the endpoints of the database and the cache', async (t) => {
  t.match(flags('resolver').split(' '), [/coredns$/, '-conf', '/box/default/config/Corefile'])
  const corefile = named('resolver').files['/box/default/config/Corefile']
  t.match(corefile, 'hosts /box/default/run/databases.hosts')
})

t.test(
  'the database and the cache offer TLS, and take their clients from files that the component aws writes',
  async (t) => {
    const database = named('postgres').files['/box/default/data/postgres/data/postgresql.conf']
    t.match(database, "hba_file = '/var/lib/postgresql/data/clients.conf'")
    t.match(database, /^ssl = on$/m)
    const cache = named('redis').files['/box/default/config/redis.conf']
    t.match(cache, 'include /box/default/credentials/cache-users.conf')
    t.match(cache, /^tls-port 6379$/m)
  },
)

t.test('commands and configuration files contain no password', async (t) => {
  t.notMatch(JSON.stringify([named('postgres'), named('redis')]), /requirepass \S|PASSWORD '[^']|user \S+ on/)
})

t.test('the cache is bounded and evicts the least recently used keys', async (t) => {
  const settings = named('redis').files['/box/default/config/redis.conf']
  t.match(settings, /^maxmemory 64mb$/m)
  t.match(settings, /^maxmemory-policy allkeys-lru$/m)
})

t.test("volume plugins are not searched in the machine's default directories", async (t) => {
  t.match(kubeletConfiguration().volumePluginDir, /^\/run\//, "in the node's own /run")
  t.match(flags('kube-controller-manager'), '--flex-volume-plugin-dir=/box/default/')
})

t.test('the fingerprint changes with the code that the box runs, but not with its tests', async (t) => {
  const root = t.testdir({
    'package.json': '{}',
    manifests: { 'components.yaml': '' },
    src: { 'eks-api': { 'server.ts': 'one' }, 'server.test.ts': 'one' },
  })
  const before = fingerprint(config, root)
  writeFileSync(join(root, 'src', 'server.test.ts'), 'two')
  t.equal(fingerprint(config, root), before)
  writeFileSync(join(root, 'src', 'eks-api', 'server.ts'), 'two')
  t.not(fingerprint(config, root), before)
})

t.test('the fingerprint changes with the configuration', async (t) => {
  const moved = readBoxConfig({ BOX_STATE_DIR: '/box', BOX_CACHE_DIR: '/cache', BOX_API_PORT: '7443' })
  t.equal(fingerprint(config), fingerprint(readBoxConfig({ BOX_STATE_DIR: '/box', BOX_CACHE_DIR: '/cache' })))
  t.not(fingerprint(config), fingerprint(moved))
})
