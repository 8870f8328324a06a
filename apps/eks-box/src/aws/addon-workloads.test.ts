import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readBoxConfig } from 'shared/box'
import { toolDirectory } from 'shared/tools'
import t, { type Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { ADDON_REGISTRY } from '../cluster.ts'
import { AddonWorkloads } from './addon-workloads.ts'

/** A registry that accepts every image, a cluster that accepts every command, and built tools. */
async function start(t: Test) {
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url?.split('?')[0]}`)
    const status = { HEAD: 404, POST: 202, PUT: 201 }[request.method ?? ''] ?? 500
    request.resume().on('end', () => response.writeHead(status, { location: '/upload' }).end())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  // The box refuses state directories with long paths.
  const directory = mkdtempSync(join(tmpdir(), 'addons-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const config = readBoxConfig({
    BOX_STATE_DIR: join(directory, 'box'),
    BOX_CACHE_DIR: join(directory, 'cache'),
  })
  for (const tool of ['coredns', 'metrics-server'] as const) {
    mkdirSync(toolDirectory(config, tool), { recursive: true })
    writeFileSync(join(toolDirectory(config, tool), tool), 'the program')
  }
  const commands: string[] = []
  const workloads = new AddonWorkloads({
    config,
    registry: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    kubectl: async (...args) => {
      commands.push(args.join(' '))
      return ''
    },
  })
  return { workloads, requests, commands }
}

for (const addonName of ['coredns', 'metrics-server']) {
  t.test(`${addonName} is installed with the image of its version, and removed`, async (t) => {
    const { workloads, requests, commands } = await start(t)
    const addonVersion = 'v1.2.3-eksbuild.1'
    await workloads.install({ addonName, addonVersion })
    t.equal(requests.at(-1), `PUT /v2/eks/${addonName}/manifests/${addonVersion}`)
    const [apply = '', wait] = commands
    t.match(apply, /^apply --server-side .*--filename=/)
    t.match(wait, `rollout status --namespace=kube-system deployment/${addonName}`)
    const objects = parseAllDocuments(readFileSync(apply.split('=').at(-1) ?? '', 'utf8')).map((document) =>
      document.toJS(),
    )
    const deployment = objects.find(({ kind }) => kind === 'Deployment')
    t.equal(deployment.metadata.name, addonName)
    t.equal(
      deployment.spec.template.spec.containers[0].image,
      `${ADDON_REGISTRY}/eks/${addonName}:${addonVersion}`,
    )

    const before = requests.length
    await workloads.install({ addonName, addonVersion })
    t.equal(requests.length, before, 'the image is pushed once')

    await workloads.remove(addonName)
    t.match(commands.at(-1), new RegExp(`^delete --ignore-not-found .*/manifests/addons/${addonName}.yaml$`))
  })
}

t.test('an add-on without pods in the box needs no installation', async (t) => {
  const { workloads, requests, commands } = await start(t)
  await workloads.install({ addonName: 'vpc-cni', addonVersion: 'v1' })
  await workloads.remove('vpc-cni')
  t.strictSame([...requests, ...commands], [])
})
