import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { LOAD_ROUTE_PROBE } from './target.ts'
import type { FakeJobs } from './test-jobs.ts'

/** Requests that precede the load. */
const probes = ['/readyz', LOAD_ROUTE_PROBE]

/** A fake service that counts its requests. */
export interface FakeService {
  url: string
  /** Number of requests, except the probes before the load and those of the task API, and of their connections. */
  requests: number
  connections: number
  /** Time of the last request, in milliseconds since the epoch. */
  lastRequest: number
  paths: Set<string>
  /** Whether the service has the routes for load tests. */
  hasLoadRoutes: boolean
  /** The tasks, by their id. */
  tasks: Map<string, FakeTask>
  /** Method and path of each request of the task API, with ids replaced. */
  taskRequests: Set<string>
  /** Status of a request of the task API instead of its own, for example to refuse it. */
  taskStatus: (request: IncomingMessage) => number | undefined
  close: () => Promise<void>
}

interface FakeTask {
  id: string
  title: string
  status: string
  version: number
}

/** Starts a service on loopback. `status` returns the status for the nth request, counted from 1. */
export async function startService(status: (request: number) => number = () => 200): Promise<FakeService> {
  const seen = new WeakSet<object>()
  const server = createServer((request, response) => {
    const path = String(request.url)
    if (path.startsWith('/api/v1/tasks')) {
      void answerTask(service, request, response)
      return
    }
    if (!probes.includes(path)) {
      service.requests++
      service.lastRequest = Date.now()
      service.paths.add(path)
      if (!seen.has(request.socket)) service.connections++
      seen.add(request.socket)
      response.statusCode = status(service.requests)
    }
    if (path === LOAD_ROUTE_PROBE && !service.hasLoadRoutes) response.statusCode = 404
    response.end()
  })
  const service: FakeService = {
    url: await listen(server),
    requests: 0,
    connections: 0,
    lastRequest: 0,
    paths: new Set(),
    hasLoadRoutes: true,
    tasks: new Map(),
    taskRequests: new Set(),
    taskStatus: () => undefined,
    close: () => close(server),
  }
  return service
}

/** Does what the task API does for requests without mistakes. */
async function answerTask(
  service: FakeService,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { tasks } = service
  const { pathname, searchParams } = new URL(String(request.url), service.url)
  const [, id] = /^\/api\/v1\/tasks\/(?!summary)(.+)/.exec(pathname) ?? []
  const body = JSON.parse((await text(request)) || '{}') as Partial<FakeTask>
  const known = tasks.get(id ?? '')
  service.taskRequests.add(`${request.method} ${id === undefined ? pathname : '/api/v1/tasks/:id'}`)
  const answer = (status: number, content?: object, task?: FakeTask) => {
    response.statusCode = service.taskStatus(request) ?? status
    if (task !== undefined) response.setHeader('etag', `"${task.version}"`)
    response.end(content === undefined ? undefined : JSON.stringify(content))
  }
  if (request.method === 'POST') {
    const task = {
      id: `task-${tasks.size}-${Math.random()}`,
      title: String(body.title),
      status: 'open',
      version: 1,
    }
    tasks.set(task.id, task)
    return answer(201, task, task)
  }
  if (pathname.endsWith('/summary'))
    return answer(200, { total: tasks.size, open: tasks.size, doing: 0, done: 0 })
  if (id === undefined) {
    const found = [...tasks.values()].filter(({ title }) => title.includes(searchParams.get('title') ?? ''))
    const from = Number(searchParams.get('cursor') ?? 0)
    const to = from + Number(searchParams.get('limit'))
    return answer(200, { items: found.slice(from, to), ...(to < found.length && { nextCursor: String(to) }) })
  }
  if (known === undefined) return answer(404, {})
  if (request.method === 'DELETE') {
    tasks.delete(known.id)
    return answer(204)
  }
  if (request.method === 'PATCH') Object.assign(known, body, { version: known.version + 1 })
  if (request.headers['if-none-match'] === `"${known.version}"`) return answer(304, undefined, known)
  return answer(200, known, known)
}

type FakeObject = { metadata: { name: string; uid?: string } } & Record<string, unknown>

/** The state of a fake Kubernetes API. Tests may change it at any time. */
export interface FakeCluster {
  url: string
  /** HTTP status of every answer. With a change from 200, all watches end. */
  status: number
  /** Statuses of answers about some kinds of objects, by their plural, or by the last part of another path. */
  statuses: Record<string, number>
  /** Whether the autoscaler and the Deployment exist. */
  deployed: boolean
  /** The Deployment's pods: those that are ready, and up to `desired` those that are not. */
  replicas: () => { desired: number; ready: number }
  /** The autoscaler's conditions; undefined until the controller manager has evaluated it. */
  conditions: { type: string; status: string; reason: string; message: string }[] | undefined
  /** The autoscaler's minimum, and what it scales on. */
  minReplicas: number | undefined
  metrics: object[]
  nodes: FakeObject[]
  claims: FakeObject[]
  ingresses: FakeObject[]
  /** The Services of Prometheus. */
  services: FakeObject[]
  /** What Prometheus answers for a moment in seconds since the epoch; undefined where it has no sample. */
  prometheus: (time: number) => number | undefined
  /** The requested paths, with queries. */
  asked: Set<string>
  /** Sends an event to all watches of a kind, for example a bookmark. An error ends the watch. */
  send: (plural: string, event: { type: string; object: object }) => void
  /** Cuts all connections. */
  disconnect: () => void
  close: () => Promise<void>
}

/** A node of a fake cluster. */
export function fakeNode(
  name: string,
  { type = 't3a.small', ready = 'True', karpenter = false } = {},
): FakeObject {
  const labels = {
    'node.kubernetes.io/instance-type': type,
    ...(karpenter && { 'karpenter.sh/nodepool': 'default' }),
  }
  return {
    metadata: { name, labels },
    status: { conditions: [{ type: 'Ready', status: ready }] },
  } as FakeObject
}

/** CPU as the metric of an autoscaler. */
export const cpuMetric = {
  type: 'Resource',
  resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 70 } },
}

/** How often watches send changes, in milliseconds. */
const watchIntervalMs = 50

/** Starts a Kubernetes 1.35 API on loopback with one Deployment, its autoscaler and pods, nodes, and possibly Jobs. */
export async function startCluster(jobs?: FakeJobs): Promise<FakeCluster> {
  const watches = new Map<ServerResponse, string>()
  const objects = (plural: string): FakeObject[] => {
    const { desired, ready } = cluster.replicas()
    if (plural === 'horizontalpodautoscalers') return cluster.deployed ? [autoscaler(desired)] : []
    if (plural === 'deployments') {
      if (!cluster.deployed) return []
      return [{ metadata: { name: 'app' }, status: ready === 0 ? {} : { readyReplicas: ready } }]
    }
    if (plural === 'pods')
      return Array.from({ length: Math.max(desired, ready) }, (_, index) => pod(index, index < ready))
    if (plural === 'nodes') return cluster.nodes
    if (plural === 'services') return cluster.services
    return plural === 'nodeclaims' ? cluster.claims : cluster.ingresses
  }
  const snapshot = (plural: string) =>
    new Map(objects(plural).map((object) => [object.metadata.name, JSON.stringify(object)]))
  /** The objects as they were listed, from which a watch sends changes. */
  const listed = new Map<string, Map<string, string>>()

  const server = createServer((request, response) => {
    if (jobs?.answer(request, response)) return
    const { pathname, searchParams } = new URL(String(request.url), 'http://fake')
    cluster.asked.add(decodeURIComponent(String(request.url)))
    const plural = String(pathname.split('/').at(-1))
    const status = cluster.status === 200 ? (cluster.statuses[plural] ?? 200) : cluster.status
    response.statusCode = status
    response.setHeader('content-type', 'application/json')
    if (status !== 200) {
      response.end(JSON.stringify({ kind: 'Status', code: status }))
      return
    }
    if (plural === 'query_range') {
      response.end(JSON.stringify(rangeAnswer(searchParams, cluster.prometheus)))
      return
    }
    if (!searchParams.has('watch')) {
      listed.set(plural, snapshot(plural))
      response.end(JSON.stringify({ metadata: { resourceVersion: '1' }, items: objects(plural) }))
      return
    }
    response.flushHeaders()
    watches.set(response, plural)
    let known = listed.get(plural) as Map<string, string>
    const timer = setInterval(() => {
      if (cluster.status !== 200) {
        response.end()
        return
      }
      const now = snapshot(plural)
      for (const [name, object] of now) {
        if (known.get(name) === object) continue
        write(response, { type: known.has(name) ? 'MODIFIED' : 'ADDED', object: JSON.parse(object) })
      }
      for (const [name, object] of known) {
        if (!now.has(name)) write(response, { type: 'DELETED', object: JSON.parse(object) })
      }
      known = now
    }, watchIntervalMs)
    response.on('close', () => {
      clearInterval(timer)
      watches.delete(response)
      listed.set(plural, known)
    })
  })
  const write = (response: ServerResponse, event: object) => response.write(`${JSON.stringify(event)}\n`)
  const autoscaler = (desired: number): FakeObject => ({
    metadata: { name: 'app' },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'app' },
      minReplicas: cluster.minReplicas,
      maxReplicas: 10,
      metrics: cluster.metrics,
    },
    status: cluster.conditions && {
      desiredReplicas: desired,
      conditions: cluster.conditions,
      currentMetrics: cluster.metrics.includes(cpuMetric)
        ? [
            {
              type: 'Resource',
              resource: { name: 'cpu', current: { averageUtilization: 41, averageValue: '41m' } },
            },
          ]
        : [],
    },
  })
  const cluster: FakeCluster = {
    url: await listen(server),
    status: 200,
    statuses: {},
    deployed: true,
    replicas: () => ({ desired: 2, ready: 2 }),
    conditions: [
      { type: 'AbleToScale', status: 'True', reason: 'ReadyForNewScale', message: '' },
      { type: 'ScalingActive', status: 'True', reason: 'ValidMetricFound', message: '' },
    ],
    minReplicas: 2,
    metrics: [cpuMetric],
    nodes: [fakeNode('node-1')],
    claims: [],
    ingresses: [],
    services: [],
    prometheus: () => undefined,
    asked: new Set(),
    send: (plural, event) => {
      for (const [response, watched] of watches) {
        if (watched !== plural) continue
        write(response, event)
        if (event.type === 'ERROR') response.end()
      }
    },
    disconnect: () => server.closeAllConnections(),
    close: () => close(server),
  }
  return cluster
}

/** The Service of a Prometheus in a fake cluster. */
export const prometheusService: FakeObject = { metadata: { name: 'prometheus-operated' } }

/** The answer of Prometheus to a range query whose expression has one series. */
function rangeAnswer(query: URLSearchParams, valueAt: FakeCluster['prometheus']): object {
  const [start = 0, end = 0, step = 0] = ['start', 'end', 'step'].map((name) =>
    Math.round(Number(query.get(name)) * 1_000),
  )
  const values: [time: number, value: string][] = []
  for (let time = start; time <= end; time += step) {
    const value = valueAt(time / 1_000)
    if (value !== undefined) values.push([time / 1_000, String(value)])
  }
  return {
    status: 'success',
    data: { resultType: 'matrix', result: values.length === 0 ? [] : [{ values }] },
  }
}

/** A pod of the fake Deployment. */
function pod(index: number, isReady: boolean): FakeObject {
  const name = `app-${index}`
  const conditions = [
    { type: 'PodScheduled', status: 'True' },
    { type: 'Ready', status: isReady ? 'True' : 'False' },
  ]
  return {
    metadata: { name, uid: name, ownerReferences: [{ kind: 'ReplicaSet' }] },
    status: { phase: isReady ? 'Running' : 'Pending', conditions },
  } as FakeObject
}

/** A kubeconfig with one context, `fake`, for `server`. */
export function kubeconfig(server: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    // The client allows plain HTTP only without TLS verification.
    clusters: [{ name: 'fake', cluster: { server, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'fake', user: {} }],
    contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'fake' } }],
    'current-context': 'fake',
  })
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections()
  await new Promise<void>((resolve) => {
    server.close(() => resolve())
  })
}
