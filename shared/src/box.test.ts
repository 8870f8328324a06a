import t from 'tap'
import { type BoxConfig, kubeconfigPath, readBoxConfig } from './box.ts'

t.test('every setting of a box has a default', async (t) => {
  const config = readBoxConfig({ HOME: '/home/dev', XDG_CACHE_HOME: '/home/dev/.cache' })
  t.strictSame(config, {
    name: 'default',
    stateDir: '/var/lib/eks-box/default',
    cacheDir: '/home/dev/.cache/eks-box',
    ports: { api: 6443, registry: 5000, service: 8080, aws: 4566, prometheus: 9091 },
    maxNodes: 8,
    startTimeoutSeconds: 120,
  } satisfies BoxConfig)
  t.equal(kubeconfigPath(config), '/var/lib/eks-box/default/kubeconfig')
})

t.test('every setting can be changed with a variable', async (t) => {
  const config = readBoxConfig({
    BOX_NAME: 'e2e',
    BOX_STATE_DIR: '/srv/box',
    BOX_CACHE_DIR: '/srv/cache',
    BOX_API_PORT: '1',
    BOX_REGISTRY_PORT: '2',
    BOX_SERVICE_PORT: '65535',
    BOX_MAX_NODES: '12',
    BOX_START_TIMEOUT_SECONDS: '1200',
  })
  t.strictSame(config, {
    name: 'e2e',
    stateDir: '/srv/box/e2e',
    cacheDir: '/srv/cache',
    ports: { api: 1, registry: 2, service: 65535, aws: 4566, prometheus: 9091 },
    maxNodes: 12,
    startTimeoutSeconds: 1200,
  } satisfies BoxConfig)
})

const refused: [variable: string, value: string, message: RegExp][] = [
  ['BOX_NAME', '../etc', /"\.\.\/etc", which is not a valid box name/],
  ['BOX_NAME', '', /"", which is not a valid box name/],
  ['BOX_API_PORT', 'http', /BOX_API_PORT is "http", which is not a port number/],
  ['BOX_API_PORT', '0', /is "0", which is not a port number/],
  ['BOX_SERVICE_PORT', '70000', /is "70000", which is not a port number/],
  ['BOX_START_TIMEOUT_SECONDS', '2m', /is "2m", which is not a time limit/],
  ['BOX_START_TIMEOUT_SECONDS', '0', /is "0", which is not a time limit/],
  ['BOX_MAX_NODES', '0', /is "0", which is not a number of nodes/],
  ['BOX_REGISTRY_PORT', '6443', /not distinct: 6443, 6443, 8080/],
  ['BOX_STATE_DIR', `/srv/${'deep/'.repeat(12)}`, /too long for the Unix sockets/],
]
for (const [variable, value, message] of refused) {
  t.test(`${variable}=${value} is refused with a next step`, async (t) => {
    t.throws(() => readBoxConfig({ [variable]: value }), { message, nextStep: /\w+/ })
  })
}
