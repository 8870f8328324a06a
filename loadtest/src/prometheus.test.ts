import { KubeConfig } from '@kubernetes/client-node'
import t, { type Test } from 'tap'
import { eventLoopExpression, readEventLoopUtilization } from './prometheus.ts'
import { ReleaseApi } from './release-api.ts'
import { type FakeCluster, kubeconfig, prometheusService, startCluster } from './test-servers.ts'

/** The first request of the run, in milliseconds since the epoch. k6 measures fractions of them. */
const start = Date.UTC(2026, 0, 2, 3, 4, 5) + 678.25
const rows = { second: [5, 10, 15, 20], stepSeconds: 5 }

/** A cluster with a Prometheus, unless `prepare` changes it. */
async function startMonitored(
  t: Test,
  prepare: (cluster: FakeCluster) => void = () => {},
): Promise<{ cluster: FakeCluster; api: ReleaseApi }> {
  const cluster = await startCluster()
  t.teardown(cluster.close)
  cluster.services = [prometheusService]
  prepare(cluster)
  const config = new KubeConfig()
  config.loadFromString(kubeconfig(cluster.url))
  return { cluster, api: new ReleaseApi(config, 'shop', 'app') }
}

/** A moment of the run as Prometheus knows it. */
const timeOf = (second: number) => Math.floor(start + second * 1_000) / 1_000

t.test('each row has the value at its second', async (t) => {
  const { cluster, api } = await startMonitored(t, (cluster) => {
    cluster.prometheus = (time) => (time - timeOf(0)) / 100
  })
  t.same(await readEventLoopUtilization(api, start, 20, rows), [0.05, 0.1, 0.15, 0.2])
  const [query, ...others] = [...cluster.asked].filter((path) => path.includes('/proxy/'))
  t.same(others, [], 'Prometheus is asked once')
  const { pathname, searchParams } = new URL(String(query), cluster.url)
  t.equal(
    pathname,
    '/api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy/api/v1/query_range',
  )
  t.same(Object.fromEntries(searchParams), {
    query: eventLoopExpression('shop', 'app'),
    start: String(timeOf(5)),
    end: String(timeOf(20)),
    step: '5',
    timeout: '10s',
  })
})

t.test('the Service has the label of the Prometheus operator', async (t) => {
  const { cluster, api } = await startMonitored(t, (cluster) => {
    cluster.prometheus = () => 0.5
  })
  await readEventLoopUtilization(api, start, 20, rows)
  t.ok(
    cluster.asked.has('/api/v1/namespaces/monitoring/services?labelSelector=operated-prometheus=true'),
    [...cluster.asked].join(' '),
  )
})

t.test('a long run has a query with its own step', async (t) => {
  let points = 0
  const { api } = await startMonitored(t, (cluster) => {
    cluster.prometheus = () => {
      points++
      return 0.5
    }
  })
  const second = Array.from({ length: 540 }, (_, row) => (row + 1) * 40)
  const column = await readEventLoopUtilization(api, start, 21_600, { second, stepSeconds: 40 })
  t.equal(points, 540)
  t.same(column, new Array(540).fill(0.5))
})

t.test(
  'a row that ends after the recording is null, although Prometheus would repeat its last value',
  async (t) => {
    const { api } = await startMonitored(t, (cluster) => {
      cluster.prometheus = () => 0.5
    })
    t.same(await readEventLoopUtilization(api, start, 18, rows), [0.5, 0.5, 0.5, null])
  },
)

t.test('a row without samples is null', async (t) => {
  const { api } = await startMonitored(t, (cluster) => {
    cluster.prometheus = (time) => (time === timeOf(10) ? undefined : 0.5)
  })
  t.same(await readEventLoopUtilization(api, start, 20, rows), [0.5, null, 0.5, 0.5])
})

t.test('a run that is shorter than its first row asks nobody', async (t) => {
  const { cluster, api } = await startMonitored(t)
  t.same(await readEventLoopUtilization(api, start, 3, { second: [5], stepSeconds: 5 }), [null])
  t.equal(cluster.asked.size, 0)
})

t.test('what prevents the query is reported with a next step', async (t) => {
  const fails = async (prepare: (cluster: FakeCluster) => void, message: string, nextStep: RegExp) => {
    const { api } = await startMonitored(t, prepare)
    await t.rejects(readEventLoopUtilization(api, start, 20, rows), {
      name: 'ActionableError',
      message,
      nextStep,
    })
  }
  await fails(
    (cluster) => {
      cluster.services = []
    },
    'no Prometheus in the namespace monitoring',
    /`make monitoring` installs it/,
  )
  await fails(
    () => {},
    'Prometheus has no event loop utilisation of release app',
    /ServiceMonitor of the release/,
  )
  await fails(
    (cluster) => {
      cluster.statuses['services'] = 403
    },
    'Prometheus cannot be read through the Kubernetes API: it answers 403',
    /list services and get services\/proxy/,
  )
  await fails(
    (cluster) => {
      cluster.statuses['query_range'] = 503
    },
    'Prometheus cannot be read through the Kubernetes API: it answers 503',
    /its pod is ready/,
  )
  await fails(
    (cluster) => {
      void cluster.close()
    },
    'Prometheus cannot be read through the Kubernetes API: ',
    /its pod is ready/,
  )
})
