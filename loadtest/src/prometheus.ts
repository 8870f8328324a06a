import { ApiException, CoreV1Api, HttpMethod } from '@kubernetes/client-node'
import { ActionableError, rootCause } from 'shared/errors'
import Type from 'typebox'
import Value from 'typebox/value'
import { type ReleaseApi, statusCode } from './release-api.ts'
import type { Series } from './run-report.ts'

const prometheusNamespace = 'monitoring'

/**
 * The label and the port of the Service that the Prometheus operator creates for every Prometheus, whatever the name of
 * its release. The Service of `make monitoring` has both, too.
 */
const serviceLabel = 'operated-prometheus=true'
const servicePort = 9090

/** For a query, so that a slow one does not burden Prometheus and does not block the recording. */
const timeoutSeconds = 10

/** The answer to a range query. Times are seconds since the epoch. */
const RangeAnswer = Type.Object({
  data: Type.Object({
    result: Type.Array(Type.Object({ values: Type.Array(Type.Tuple([Type.Number(), Type.String()])) })),
  }),
})

/**
 * PromQL for the mean utilisation of the event loops of a release's pods, 0 to 1, in the minute before. It is what an
 * autoscaler with this metric sees, because the Prometheus adapter has the same rate for each pod.
 */
export function eventLoopExpression(namespace: string, release: string): string {
  // The chart's ServiceMonitor sets the job to the name of the release.
  const pods = `{namespace="${namespace}", job="${release}"}`
  const [sum, count] = ['sum', 'count'].map((part) => `nodejs_eventloop_utilization_histogram_${part}${pods}`)
  // A pod that has ended would otherwise stay in the mean until its last samples are a minute old.
  return `avg(rate(${sum}[1m]) / rate(${count}[1m]) and ${count})`
}

/**
 * Reads the column `eventLoopUtilization` of a run with one query to the Prometheus of the cluster, through the API
 * server. The query has as many points as the series has rows, and the same step.
 *
 * @param start - the first request, in milliseconds since the epoch
 * @param seconds - the length of the recording; a row that ends later is null, because Prometheus would repeat its last
 *   samples
 * @throws ActionableError when there is no Prometheus, it cannot be read, or it has no data of the release.
 */
export async function readEventLoopUtilization(
  api: ReleaseApi,
  start: number,
  seconds: number,
  { second, stepSeconds }: Pick<Series, 'second' | 'stepSeconds'>,
): Promise<Series['eventLoopUtilization']> {
  const column: Series['eventLoopUtilization'] = second.map(() => null)
  const last = second.findLast((each) => each <= seconds)
  if (last === undefined) return column
  // Whole milliseconds, as in the report's startedAt and in Prometheus.
  const origin = Math.floor(start) / 1_000
  const results = await queryRange(api, {
    query: eventLoopExpression(api.namespace, api.release),
    start: String(origin + stepSeconds),
    end: String(origin + last),
    step: String(stepSeconds),
  })
  const [mean] = results
  if (mean === undefined) {
    throw new ActionableError(
      `Prometheus has no event loop utilisation of release ${api.release}`,
      'check that the ServiceMonitor of the release is enabled, and that Prometheus reaches its targets',
    )
  }
  for (const [time, value] of mean.values) {
    column[Math.round((time - origin) / stepSeconds) - 1] = Math.round(Number(value) * 1_000) / 1_000
  }
  return column
}

/** Runs a range query, and returns its series. */
async function queryRange(api: ReleaseApi, parameters: Record<string, string>) {
  try {
    const name = await findService(api)
    const path = `/api/v1/namespaces/${prometheusNamespace}/services/${name}:${servicePort}/proxy/api/v1/query_range`
    const { baseServer, httpApi, authMethods } = api.configuration
    const request = baseServer.makeRequestContext(path, HttpMethod.GET)
    for (const [key, value] of Object.entries({ ...parameters, timeout: `${timeoutSeconds}s` })) {
      request.setQueryParam(key, value)
    }
    await authMethods.default?.applySecurityAuthentication(request)
    request.setSignal(AbortSignal.timeout(timeoutSeconds * 1_000))
    const { httpStatusCode, headers, body } = await httpApi.send(request).toPromise()
    const answer = await body.text()
    if (httpStatusCode !== 200) throw new ApiException(httpStatusCode, 'the query failed', answer, headers)
    return Value.Parse(RangeAnswer, JSON.parse(answer)).data.result
  } catch (error) {
    throw error instanceof ActionableError ? error : explain(error)
  }
}

async function findService({ configuration }: ReleaseApi): Promise<string> {
  const { items } = await new CoreV1Api(configuration).listNamespacedService({
    namespace: prometheusNamespace,
    labelSelector: serviceLabel,
  })
  const name = items[0]?.metadata?.name
  if (name !== undefined) return name
  throw new ActionableError(
    `no Prometheus in the namespace ${prometheusNamespace}`,
    '`make monitoring` installs it in the box',
  )
}

function explain(error: unknown): ActionableError {
  const code = statusCode(error)
  return new ActionableError(
    `Prometheus cannot be read through the Kubernetes API: ${code === undefined ? rootCause(error) : `it answers ${code}`}`,
    code === 401 || code === 403
      ? `use a context that may list services and get services/proxy in the namespace ${prometheusNamespace}`
      : `check that its pod is ready, and that the API server can connect to its port ${servicePort}`,
    { cause: error },
  )
}
