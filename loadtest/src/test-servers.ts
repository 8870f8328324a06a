import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { LOAD_ROUTE_PROBE } from './target.ts'

/** What is asked before the load. */
const probes = ['/readyz', LOAD_ROUTE_PROBE]

/** A stand-in for the service that counts what reaches it. */
export interface FakeService {
  url: string
  /** Requests other than the probes before the load, and the connections that carried them. */
  requests: number
  connections: number
  /** Milliseconds since the epoch of the last one. */
  lastRequest: number
  paths: Set<string>
  close: () => Promise<void>
}

/** Starts a service on loopback; `status` gives the answer to the nth request, from 1 on. */
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

/** What the fake Kubernetes API tells of a release; change it while it runs. */
export interface FakeCluster {
  url: string
  /** Status of every answer; 200 unless told. */
  status: number
  /** Whether there is an autoscaler at all. */
  deployed: boolean
  replicas: () => { desired: number; ready: number }
  /** Of the autoscaler's status, which is not there until the controller manager has looked at it. */
  conditions: { type: string; status: string; reason: string; message: string }[] | undefined
  /** Of the autoscaler's specification: its lower bound, and the resource it scales by. */
  minReplicas: number | undefined
  metric: 'cpu' | 'memory'
  /** Paths with queries, as asked for. */
  asked: Set<string>
  close: () => Promise<void>
}

/** Starts a Kubernetes API on loopback that knows one Deployment with an autoscaler, in the form of 1.35. */
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

/** A kubeconfig whose only context, `fake`, leads to `server`. */
export function kubeconfig(server: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    // The client speaks plain HTTP only where nothing is to be verified.
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
