/**
 * Serves Prometheus' targets to the Prometheus in the same pod: `/endpointslices` and `/nodes`. `make monitoring` mounts
 * this file and `discovery.ts` in the pod, so it must not import anything else.
 */
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import {
  type EndpointSlice,
  endpointTargets,
  type Node,
  nodeTargets,
  type Pod,
  type Service,
  type TargetGroup,
} from './discovery.ts'

const api = 'https://kubernetes.default.svc'
const tokenFile = '/var/run/secrets/kubernetes.io/serviceaccount/token'
/** Every scrape job asks for the same targets, so they share one answer of the API server. In milliseconds. */
const maxAge = 4000

async function list<Item>(path: string): Promise<Item[]> {
  // The kubelet replaces the token before it expires.
  const token = await readFile(tokenFile, 'utf8')
  const response = await fetch(`${api}${path}`, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(10_000),
  })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return ((await response.json()) as { items: Item[] }).items
}

const discoveries: Readonly<Record<string, () => Promise<TargetGroup[]>>> = {
  '/endpointslices': async () =>
    endpointTargets(
      ...(await Promise.all([
        list<EndpointSlice>('/apis/discovery.k8s.io/v1/endpointslices'),
        list<Service>('/api/v1/services'),
        list<Pod>('/api/v1/pods'),
      ])),
    ),
  '/nodes': async () => nodeTargets(await list<Node>('/api/v1/nodes')),
}

const answers = new Map<string, { time: number; targets: Promise<TargetGroup[]> }>()

createServer(async (request, response) => {
  const path = request.url ?? ''
  const discover = discoveries[path]
  if (discover === undefined) {
    response.writeHead(404).end()
    return
  }
  let answer = answers.get(path)
  if (answer === undefined || Date.now() - answer.time > maxAge) {
    answer = { time: Date.now(), targets: discover() }
    answers.set(path, answer)
  }
  try {
    const targets = await answer.targets
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(targets))
  } catch (error) {
    answers.delete(path)
    console.error(error)
    // Prometheus keeps the previous targets.
    response.writeHead(503).end()
  }
}).listen(9092, '127.0.0.1')

process.on('SIGTERM', () => process.exit(0))
