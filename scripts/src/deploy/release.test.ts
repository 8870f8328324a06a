import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { readBoxConfig } from 'shared/box'
import t, { type Test } from 'tap'
import { helmCause, helmProgram, lastDeployed, stoppedWaitingEarly } from './helm-release.ts'
import { chartWarnings, Release } from './release.ts'

t.test('the newest revision that was fully rolled out is the last deployed one', async (t) => {
  t.equal(
    lastDeployed([
      { revision: 1, status: 'superseded' },
      { revision: 2, status: 'deployed' },
      { revision: 3, status: 'failed' },
      { revision: 4, status: 'pending-upgrade' },
    ]),
    2,
  )
})

t.test('a release that was never rolled out has no deployed revision', async (t) => {
  t.equal(lastDeployed([{ revision: 1, status: 'pending-install' }]), undefined)
  t.equal(lastDeployed([]), undefined)
})

t.test("a value that the chart's schema refuses is reported in one line", async (t) => {
  const output = `Error: UPGRADE FAILED: values don't meet the specifications of the schema(s) in the following chart(s):
fastify-app:
- at '/autoscaling': additional properties 'maxReplica' not allowed
- at '': something else
`
  t.equal(
    helmCause(output),
    "the chart does not allow a value: at '/autoscaling': additional properties 'maxReplica' not allowed",
  )
})

t.test('when a rollout times out, the cause is what is not ready', async (t) => {
  const output = `level=WARN msg="upgrade failed" error="resource NodePool//a not ready. status: InProgress"
Error: UPGRADE FAILED: resource Deployment/shop/web not ready. status: InProgress, message: Available: 0/1
resource NodePool//small not ready. status: Failed
context deadline exceeded
`
  t.equal(
    helmCause(output),
    'Deployment web is not ready: Available: 0/1; NodePool small is not ready: Failed',
  )
})

t.test('a wait that ends before the timeout is told from one that times out', async (t) => {
  const early = `Error: resource NodePool//small not ready. status: InProgress, message: NodeClassReady=Unknown`
  t.equal(stoppedWaitingEarly(early), true)
  t.equal(stoppedWaitingEarly(`${early}\ncontext deadline exceeded`), false)
  t.equal(stoppedWaitingEarly('Error: resource NodePool//small not ready. status: Failed'), false, 'final')
})

t.test('any other failure is reported by the last line, without its prefix', async (t) => {
  t.equal(helmCause('walk\nError: UPGRADE FAILED: context deadline exceeded\n'), 'context deadline exceeded')
})

t.test('an error of the chart is reported without the location in its templates', async (t) => {
  t.equal(
    helmCause(
      'Error: execution error at (fastify-app/templates/deployment.yaml:1:4): there is no database\n',
    ),
    'there is no database',
  )
})

t.test('warnings are extracted from the notes', async (t) => {
  const output = 'STATUS: deployed\nNOTES:\nfastify-app runs\n\nWARNING: there is no database\n'
  t.strictSame(chartWarnings(output), ['WARNING: there is no database'])
})

const kubeconfig = `apiVersion: v1
kind: Config
current-context: here
clusters: [{ name: c, cluster: { server: "http://127.0.0.1:9", insecure-skip-tls-verify: true } }]
users: [{ name: u, user: {} }]
contexts: [{ name: here, context: { cluster: c, user: u } }]
`

/** A release whose helm records its subcommand, prints `output` and fails. */
function releaseWith(directory: string, output: string): Release {
  const helm = join(directory, 'helm')
  writeFileSync(helm, `#!/bin/sh\necho "$1" >> ${directory}/asked\necho '${output}' >&2\nexit 1\n`)
  chmodSync(helm, 0o755)
  writeFileSync(join(directory, 'kubeconfig'), kubeconfig)
  return new Release(helm, { from: 'box', kubeconfig: join(directory, 'kubeconfig') })
}

t.test('a release that does not exist has no revisions', async (t) => {
  t.strictSame(await releaseWith(t.testdir(), 'Error: release: not found').history(), [])
})

t.test('when the history cannot be read, nothing is uninstalled', async (t) => {
  const directory = t.testdir()
  const release = releaseWith(directory, 'Error: Kubernetes cluster unreachable: i/o timeout')
  await t.rejects(release.restore(), { message: /history cannot be read: Kubernetes cluster unreachable/ })
  t.equal(readFileSync(join(directory, 'asked'), 'utf8'), 'history\n')
})

t.test('until the migration has succeeded, other pods are ignored', async (t) => {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://x')
    asked.push(`${pathname.split('/').at(-1)} ${searchParams.get('labelSelector')}`)
    const items = [{ metadata: { name: 'migration-1' }, status: { phase: 'Running' } }]
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ items }))
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const here = kubeconfig.replace('127.0.0.1:9', `127.0.0.1:${(server.address() as AddressInfo).port}`)
  const directory = t.testdir({ kubeconfig: here })
  const release = new Release('helm', { from: 'box', kubeconfig: join(directory, 'kubeconfig') })
  t.strictSame(await release.diagnoses(new Set()), [])
  t.strictSame(asked, [
    'pods app.kubernetes.io/name=fastify-app-migration,app.kubernetes.io/instance=fastify-app',
  ])
})

/** A release whose migration waits for a Secret, in a cluster with or without an ExternalSecret. */
async function waitingRelease(t: Test, externalSecret: object | undefined): Promise<Release> {
  const waiting = { reason: 'CreateContainerConfigError', message: 'secret "fastify-app" not found' }
  const pod = {
    metadata: { name: 'migration-1' },
    status: {
      phase: 'Pending',
      containerStatuses: [{ name: 'migration', ready: false, state: { waiting } }],
    },
  }
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://x')
    const isPods = pathname.endsWith('/pods')
    if (!isPods && externalSecret === undefined) response.statusCode = 404
    const body = isPods ? { items: [pod] } : (externalSecret ?? {})
    response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const here = kubeconfig.replace('127.0.0.1:9', `127.0.0.1:${(server.address() as AddressInfo).port}`)
  const directory = t.testdir({ kubeconfig: here })
  return new Release('helm', { from: 'box', kubeconfig: join(directory, 'kubeconfig') })
}

t.test("a diagnosis of an ExternalSecret's missing Secret has the operator's status", async (t) => {
  const condition = {
    type: 'Ready',
    status: 'False',
    reason: 'SecretSyncedError',
    message: 'access denied',
  }
  const spec = { target: { name: 'fastify-app' } }
  const failing = await waitingRelease(t, { spec, status: { conditions: [condition] } })
  t.match(await failing.diagnoses(new Set()), [
    {
      missingSecret: 'fastify-app',
      message: 'secret "fastify-app" not found; ExternalSecret fastify-app: SecretSyncedError: access denied',
    },
  ])
  const ignored = await waitingRelease(t, { spec })
  t.match(await ignored.diagnoses(new Set()), [{ message: /no operator has processed it/ }])
})

t.test('a missing Secret that no operator creates is not marked as such', async (t) => {
  for (const externalSecret of [undefined, { spec: { target: { name: 'other' } } }]) {
    const [diagnosis] = await (await waitingRelease(t, externalSecret)).diagnoses(new Set())
    t.match(diagnosis, { message: 'secret "fastify-app" not found', permanent: true })
    t.notHas(diagnosis, 'missingSecret')
  }
})

t.test('HELM overrides the pinned helm', async (t) => {
  const box = readBoxConfig({ BOX_CACHE_DIR: join(t.testdir(), 'cache') })
  t.equal(helmProgram(box, { HELM: '/opt/helm' }), '/opt/helm')
  t.throws(() => helmProgram(box, {}), { message: /not built/, nextStep: /make tools/ })
})
