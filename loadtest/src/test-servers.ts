import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { LOAD_ROUTE_PROBE } from './target.ts'

/** Requests that precede the load. */
const probes = ['/readyz', LOAD_ROUTE_PROBE]

/** A fake service that counts its requests. */
export interface FakeService {
  url: string
  /** Number of requests, except the probes before the load, and of their connections. */
  requests: number
  connections: number
  /** Time of the last request, in milliseconds since the epoch. */
  lastRequest: number
  paths: Set<string>
  close: () => Promise<void>
}

/** Starts a service on loopback. `status` returns the status for the nth request, counted from 1. */
export async function startService(status: (request: number) => number = () => 200): Promise<FakeService> {
  const seen = new WeakSet<object>()
  const server = createServer((request, response) => {
    if (!probes.includes(String(request.url))) {
      service.requests++
      service.lastRequest = Date.now()
      service.paths.add(String(request.url))
      if (!seen.has(request.socket)) service.connections++
      seen.add(request.socket)
      response.statusCode = status(service.requests)
    }
    response.end()
  })
  const service: FakeService = {
    url: await listen(server),
    requests: 0,
    connections: 0,
    lastRequest: 0,
    paths: new Set(),
    close: () => close(server),
  }
  return service
}

/** The state of a fake Kubernetes API. Tests may change it at any time. */
export interface FakeCluster {
  url: string
  /** HTTP status of every answer. */
  status: number
  /** Whether the autoscaler exists. */
  deployed: boolean
  replicas: () => { desired: number; ready: number }
  /** The autoscaler's conditions; undefined until the controller manager has evaluated it. */
  conditions: { type: string; status: string; reason: string; message: string }[] | undefined
  /** The autoscaler's minimum, and the resource it scales on. */
  minReplicas: number | undefined
  metric: 'cpu' | 'memory'
  /** The requested paths, with queries. */
  asked: Set<string>
  close: () => Promise<void>
}

/** Starts a Kubernetes 1.35 API on loopback with one Deployment and its autoscaler. */
export async function startCluster(): Promise<FakeCluster> {
  const server = createServer((request, response) => {
    cluster.asked.add(decodeURIComponent(String(request.url)))
    const { desired, ready } = cluster.replicas()
    response.statusCode = cluster.status
    response.setHeader('content-type', 'application/json')
    const body = String(request.url).startsWith('/apis/autoscaling/v2/')
      ? { kind: 'HorizontalPodAutoscalerList', items: cluster.deployed ? [autoscaler(desired)] : [] }
      : { kind: 'Deployment', status: ready === 0 ? {} : { readyReplicas: ready } }
    response.end(JSON.stringify(cluster.status === 200 ? body : { kind: 'Status', code: cluster.status }))
  })
  const autoscaler = (desired: number) => ({
    metadata: { name: 'app' },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'app' },
      minReplicas: cluster.minReplicas,
      maxReplicas: 10,
      metrics: [
        {
          type: 'Resource',
          resource: { name: cluster.metric, target: { type: 'Utilization', averageUtilization: 70 } },
        },
      ],
    },
    status: cluster.conditions && {
      desiredReplicas: desired,
      conditions: cluster.conditions,
      currentMetrics: [
        {
          type: 'Resource',
          resource: { name: cluster.metric, current: { averageUtilization: 41, averageValue: '41m' } },
        },
      ],
    },
  })
  const cluster: FakeCluster = {
    url: await listen(server),
    status: 200,
    deployed: true,
    replicas: () => ({ desired: 2, ready: 2 }),
    conditions: [
      { type: 'AbleToScale', status: 'True', reason: 'ReadyForNewScale', message: '' },
      { type: 'ScalingActive', status: 'True', reason: 'ValidMetricFound', message: '' },
    ],
    minReplicas: 2,
    metric: 'cpu',
    asked: new Set(),
    close: () => close(server),
  }
  return cluster
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
