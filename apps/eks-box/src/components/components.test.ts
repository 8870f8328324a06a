import { readFileSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import t from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { ADDONS_MANIFEST, DNS_SERVICE_IP, NODE_IP, PORTS, SERVICE_CIDR } from '../cluster.ts'
import { COMPONENT_NAMES } from '../component.ts'
import { ECR_REGISTRY, readConfig } from '../config.ts'
import { components, fingerprint } from './index.ts'

const config = readConfig({ BOX_STATE_DIR: '/box', BOX_CACHE_DIR: '/cache' })
const built = components(config)
const named = (name: string) => {
  const component = built.find((candidate) => candidate.name === name)
  if (component === undefined) throw new Error(`there is no component ${name}`)
  return component
}
const flags = (name: string) => named(name).command.join(' ')

t.test('each component is built once, under its name', async (t) => {
  t.strictSame(built.map(({ name }) => name).sort(), [...COMPONENT_NAMES].sort())
})

t.test('the links have no circle', async (t) => {
  const settled = new Set<string>()
  for (let round = 0; round < built.length; round++) {
    for (const { name, after } of built) if (after.every((link) => settled.has(link))) settled.add(name)
  }
  t.equal(settled.size, built.length)
})

t.test('everything a component writes is below the state directory', async (t) => {
  for (const { files } of built) {
    for (const path of Object.keys(files)) t.ok(isAbsolute(path) && path.startsWith('/box/default/'), path)
  }
  const outside = built
    .flatMap(({ command }) => command)
    .map((argument) => argument.slice(argument.indexOf('=') + 1))
    .filter((value) => value.startsWith('/') && !/^\/(box|cache)\//.test(value))
    .filter((value) => value !== process.execPath && !value.startsWith(join(import.meta.dirname, '..')))
  t.strictSame(outside, [])
})

t.test("what nobody can change on EKS is at EKS's value", async (t) => {
  const apiserver = flags('kube-apiserver')
  t.match(apiserver, `--service-cluster-ip-range=${SERVICE_CIDR}`)
  const authorization = parse(named('kube-apiserver').files['/box/default/config/authorization.yaml'] ?? '')
  t.strictSame(
    authorization.authorizers.map(({ type }: { type: string }) => type),
    ['Node', 'RBAC', 'Webhook'],
    'access policies allow what RBAC did not',
  )
  for (const plugin of ['PodSecurity', 'NodeRestriction', 'ResourceQuota', 'ValidatingAdmissionPolicy']) {
    t.match(apiserver, new RegExp(`--enable-admission-plugins=\\S*\\b${plugin}\\b`))
  }
  t.notMatch(
    flags('kube-controller-manager'),
    '--horizontal-pod-autoscaler',
    'HPA timing is left at its default',
  )
  t.match(flags('metrics-server'), '--metric-resolution=15s')
})

t.test("image references are production's: ECR's host leads to the box's registry", async (t) => {
  const hosts = named('containerd').files[join('/box/default/config/certs.d', ECR_REGISTRY, 'hosts.toml')]
  t.match(hosts, `[host."http://127.0.0.1:${PORTS.registry}"]`)
})

t.test('the kubelet gives pods the DNS address that the manifest serves', async (t) => {
  const kubelet = parse(named('kubelet').files['/box/default/config/kubelet.yaml'] ?? '')
  t.strictSame(kubelet.clusterDNS, [DNS_SERVICE_IP])
  const manifests = parseAllDocuments(readFileSync(ADDONS_MANIFEST, 'utf8')).map((document) =>
    document.toJS(),
  )
  const service = manifests.find(({ kind, metadata }) => kind === 'Service' && metadata.name === 'kube-dns')
  t.equal(service.spec.clusterIP, DNS_SERVICE_IP)
  for (const { endpoints } of manifests.filter(({ kind }) => kind === 'EndpointSlice')) {
    t.strictSame(endpoints[0].addresses, [NODE_IP])
  }
})

t.test('each component answers a probe on a port of its own', async (t) => {
  const urls = built.flatMap(({ probe }) => (probe.kind === 'http' ? [new URL(probe.url).port] : []))
  t.equal(new Set(urls).size, urls.length)
})

t.test('the fingerprint follows the configuration', async (t) => {
  const moved = readConfig({ BOX_STATE_DIR: '/box', BOX_CACHE_DIR: '/cache', BOX_API_PORT: '7443' })
  t.equal(fingerprint(config), fingerprint(readConfig({ BOX_STATE_DIR: '/box', BOX_CACHE_DIR: '/cache' })))
  t.not(fingerprint(config), fingerprint(moved))
})
