import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { KubeConfig, type V1Pod } from '@kubernetes/client-node'
import { readBoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import t, { type Test } from 'tap'
import type { Point } from './generator.ts'
import { JOB_NAME } from './job-manifest.ts'
import { K6Job } from './k6-job.ts'
import { PROFILES, SIZES } from './profiles.ts'
import { ReleaseApi } from './release-api.ts'
import { FakeJobs } from './test-jobs.ts'
import { kubeconfig, startCluster, startService } from './test-servers.ts'

const k6 = programPath(readBoxConfig(process.env), 'k6')
if (!existsSync(k6)) t.bailout(`these tests need k6, which is not built (${k6}): run \`make tools TOOL=k6\``)

/** Waits as short as a process needs to start, which may be late on a busy machine. */
const patience = { startup: 1_500, startDelay: 1_000, skew: 60_000, lost: 1_500, retry: 50, removal: 500 }

const never = new AbortController().signal

/** Lines of a pod's log with the result of a request each, numbered from `first` on. */
const points = (first: number, count: number) =>
  Array.from({ length: count }, (_, index) => {
    const data = `{"time":"2026-11-21T03:42:51Z","value":0,"tags":{"scenario":"steady","status":"200"}}`
    return `echo '${first + index} {"metric":"http_req_failed","type":"Point","data":${data}}'`
  }).join('\n')

/** A script that waits for the start of the load as the Job's does, and then runs `commands`. */
const fakePod = (commands: string) => `
until [ -s /loadtest/control/start ]; do sleep 0.05; done
while [ "$(date +%s)" -lt "$(cat /loadtest/control/start)" ]; do sleep 0.02; done
${commands}`
const started = 'echo "1 start $(cat /loadtest/control/start)"'

/** A Job of two pods in a fake cluster. */
async function startJob(t: Test, variables: Record<string, string> = {}, pods = 2) {
  const jobs = new FakeJobs(t.testdir())
  jobs.path = dirname(k6)
  const cluster = await startCluster(jobs)
  t.teardown(cluster.close)
  t.teardown(() => jobs.close())
  const kubeConfig = new KubeConfig()
  kubeConfig.loadFromString(kubeconfig(cluster.url))
  const printed: string[] = []
  const load = PROFILES.steady(SIZES.local, variables)
  const create = (times = {}) =>
    new K6Job(
      {
        api: new ReleaseApi(kubeConfig, 'shop', 'my-release'),
        baseUrl: 'http://lb.example',
        print: (line) => printed.push(line),
        ...{ load, pods, image: 'docker.io/grafana/k6:1.8.1' },
        variables: { PROFILE: 'steady', ...variables },
      },
      { ...patience, ...times },
    )
  const seen: Point[] = []
  const onPoint = (point: Point) => seen.push(point)
  /** Runs the Job from its creation to its deletion. */
  const run = async (signal = never, times = {}) => {
    const job = create(times)
    try {
      await job.prepare(signal)
      return await job.send(signal, onPoint)
    } finally {
      await job.close()
    }
  }
  return { jobs, cluster, create, run, seen, onPoint, printed }
}

t.test('pods send the load together, and their points are merged', async (t) => {
  const service = await startService((request) => (request % 10 === 0 ? 503 : 200))
  t.teardown(service.close)
  const { run, seen, jobs } = await startJob(t, { BASE_URL: service.url, RATE: '20', DURATION: '6s' })
  const share = await run(never, { startDelay: 2_000 })
  const requests = seen.filter(({ kind }) => kind === 'request')
  t.ok(Math.abs(requests.length - 120) <= 2, `${requests.length} requests`)
  t.equal(requests.length, service.requests, 'none is lost or doubled')
  t.equal(seen.filter(({ kind }) => kind === 'latency').length, requests.length)
  t.ok(seen.some((point) => point.kind === 'request' && point.failure === 'HTTP 503'))
  t.ok(share !== null && share > 0 && share < 1, `${share}`)
  const perPod = jobs.pods.map(({ log }) => log.match(/"http_req_failed"/g)?.length ?? 0)
  t.ok(Math.abs(Number(perPod[0]) - Number(perPod[1])) <= 2, `shares of the load: ${perPod}`)
  t.notMatch(jobs.pods[0]?.log, /http_req_duration|"checks"/, 'lines without use are dropped in the pod')
  t.equal(jobs.job, undefined, 'the Job is deleted')
})

t.test('the pods are restricted, bounded, and prefer nodes without the release', async (t) => {
  const { run, jobs } = await startJob(t, { RATE: '100' })
  jobs.script = fakePod(`${started}\necho "2 exit 0"`)
  await run()
  t.equal(jobs.patchType, 'application/merge-patch+json')
  const { spec } = jobs.created ?? {}
  t.match(spec, {
    completionMode: 'Indexed',
    parallelism: 2,
    completions: 2,
    backoffLimit: 0,
    activeDeadlineSeconds: 300 + 90 + 180,
    ttlSecondsAfterFinished: 60,
  })
  const pod = spec?.template.spec
  t.match(pod, {
    automountServiceAccountToken: false,
    restartPolicy: 'Never',
    securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  })
  const memory = `${256 + 0.5 * 200}Mi`
  t.match(pod?.containers[0], {
    image: 'docker.io/grafana/k6:1.8.1',
    resources: { requests: { cpu: '1', memory }, limits: { cpu: '1', memory } },
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
  })
  const preferences = pod?.affinity?.podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution
  t.match(preferences?.[0]?.podAffinityTerm.labelSelector, {
    matchLabels: { 'app.kubernetes.io/instance': 'my-release' },
  })
  t.notHas(
    spec?.template.metadata?.labels,
    'app.kubernetes.io/instance',
    'the release does not count them as its own',
  )
})

t.test('a lost connection to the log loses and doubles nothing', async (t) => {
  const { create, jobs, seen, onPoint } = await startJob(t)
  jobs.script = fakePod(`${started}\n${points(2, 50)}\nsleep 0.5\n${points(52, 50)}\necho "102 exit 0"`)
  const job = create()
  await job.prepare(never)
  let cuts = 0
  await job.send(never, (point) => {
    onPoint(point)
    if (++cuts % 20 === 0) jobs.cut()
  })
  t.equal(seen.length, 200)
  await job.close()
})

t.test('points that were lost make the run fail', async (t) => {
  const { run, jobs } = await startJob(t)
  jobs.script = fakePod(`${started}\n${points(5, 1)}`)
  await t.rejects(run(), {
    name: 'ActionableError',
    message: /^the run is invalid, because 3 lines of loadtest-\d are lost: its log was rotated/,
    nextStep: /--generators/,
  })
  t.equal(jobs.job, undefined)
})

t.test('an interruption stops the pods and deletes the Job', async (t) => {
  const { create, jobs, seen, onPoint } = await startJob(t)
  jobs.script = fakePod(`${started}\n${points(2, 1)}\nsleep 60`)
  const job = create()
  const stop = new AbortController()
  await job.prepare(stop.signal)
  const share = await job.send(stop.signal, (point) => {
    onPoint(point)
    stop.abort()
  })
  t.equal(share, null)
  t.equal(seen.length, 1)
  t.equal(jobs.job, undefined, 'before the tasks of the run are deleted')
  await job.close()
  const before = create()
  await before.prepare(stop.signal)
  t.equal(await before.send(stop.signal, onPoint), null)
  await before.close()
  t.equal(jobs.job, undefined)
})

t.test('an interruption before the pods run deletes the Job', async (t) => {
  const { create, jobs } = await startJob(t)
  jobs.status = () => ({ phase: 'Pending' })
  const job = create()
  const stop = new AbortController()
  const preparing = job.prepare(stop.signal)
  setTimeout(() => stop.abort(), 300)
  await preparing
  t.equal(await job.send(stop.signal, () => {}), null)
  await job.close()
  t.equal(jobs.job, undefined)
})

t.test('pods that do not start are an error with the reason', async (t) => {
  const { run, jobs } = await startJob(t)
  const fails = async (status: V1Pod['status'], error: object) => {
    jobs.status = () => status
    await t.rejects(run(), { name: 'ActionableError', ...error })
    t.equal(jobs.job, undefined)
  }
  const waiting = (reason: string, message?: string) => ({
    phase: 'Pending',
    containerStatuses: [{ state: { waiting: { reason, ...(message !== undefined && { message }) } } }],
  })
  await fails(waiting('ImagePullBackOff', 'Back-off pulling image\n"k6"') as V1Pod['status'], {
    message: 'the image of the generators cannot be pulled: Back-off pulling image "k6"',
    nextStep: /K6_IMAGE/,
  })
  await fails(waiting('InvalidImageName') as V1Pod['status'], {
    message: /cannot be pulled: docker.io.grafana.k6/,
  })
  const message = '0/2 nodes are available: 2 Insufficient cpu.'
  await fails(
    { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', message }] },
    { message: `only 0 of 2 generators run after 1.5 s: ${message}`, nextStep: /fewer --generators/ },
  )
  await fails(waiting('ContainerCreating') as V1Pod['status'], {
    message: 'only 0 of 2 generators run after 1.5 s',
    nextStep: /kubectl describe pods --namespace shop/,
  })
  await fails(
    { phase: 'Failed', reason: 'Evicted', message: 'The node was low on resource: memory.' },
    { message: /^the run is invalid, because loadtest-0 failed: Evicted: The node was low on resource/ },
  )
})

t.test('a quota that refuses pods is an error with its message', async (t) => {
  const { run, jobs } = await startJob(t)
  jobs.podLimit = 1
  jobs.refusals = { 'GET events': 403 }
  await t.rejects(run(), { message: 'only 1 of 2 generators run after 1.5 s' })
  jobs.refusals = {}
  jobs.events = [{ message: 'Error creating: pods "loadtest-1" is forbidden: exceeded quota: team' }]
  await t.rejects(run(), {
    message: /^the cluster refuses the pods of the generators: .* exceeded quota: team$/,
    nextStep: 'raise the quota of namespace shop, or use fewer --generators',
  })
})

t.test('a Job that exists, and missing permissions, are reported', async (t) => {
  const { run, jobs } = await startJob(t)
  jobs.refusals = { 'POST jobs': 409 }
  await t.rejects(run(), {
    message: 'namespace shop has a Job loadtest already: another load test runs, or was killed',
    nextStep: /kubectl delete job loadtest --namespace shop/,
  })
  const needed = /^use a context that may create, get and delete jobs, .* in namespace shop$/
  jobs.refusals = { 'POST jobs': 403 }
  await t.rejects(run(), { message: /answers 403 when asked to create a Job$/, nextStep: needed })
  jobs.refusals = { 'POST configmaps': 403 }
  await t.rejects(run(), { message: /answers 403/, nextStep: needed })
  t.equal(jobs.job, undefined)
  jobs.refusals = { 'GET pods': 403 }
  await t.rejects(run(), { message: /answers 403 when asked for pods$/, nextStep: needed })
  jobs.script = fakePod('')
  jobs.refusals = { 'PATCH pods': 403 }
  await t.rejects(run(), { message: /answers 403 when asked to start the pods$/, nextStep: needed })
  jobs.refusals = { 'GET log': 403 }
  await t.rejects(run(), { message: /log of loadtest-. cannot be read: the Kubernetes API answers 403$/ })
  jobs.refusals = { 'GET log': 502 }
  await t.rejects(run(), { message: /answers 502$/, nextStep: /check the connection/ })
})

t.test('a pod that fails during the load makes the run invalid', async (t) => {
  const { create, run, jobs } = await startJob(t)
  jobs.script = fakePod(`${started}\n${points(2, 3)}\n[ $JOB_COMPLETION_INDEX = 0 ] && exit 137\nsleep 60`)
  await t.rejects(run(), {
    message: 'the run is invalid, because loadtest-0 failed: Error, exit code 137',
    nextStep: /kubectl get events --namespace shop/,
  })
  jobs.script = fakePod(`${started}\n${points(2, 1)}\nsleep 60`)
  const job = create()
  await job.prepare(never)
  const sending = job.send(never, () => {
    for (const pod of jobs.pods.slice(0, 1)) pod.isDeleting = true
    jobs.cut()
  })
  await t.rejects(sending, { message: 'the run is invalid, because loadtest-0 failed: it was deleted' })
  await job.close()
})

t.test('a log that ends without the end of the load makes the run invalid', async (t) => {
  const { create, jobs, onPoint } = await startJob(t)
  const isInvalid = { message: /log of loadtest-. cannot be read: it ended too early$/ }
  jobs.script = fakePod(started)
  for (const refusals of [{}, { 'GET pods': 500 }]) {
    const job = create()
    await job.prepare(never)
    jobs.refusals = refusals
    await t.rejects(job.send(never, onPoint), isInvalid)
    await job.close()
  }
})

t.test("a failure of k6 is reported with k6's message", async (t) => {
  const { run, jobs } = await startJob(t, { BASE_URL: 'http://127.0.0.1:1', DURATION: '1s' })
  await t.rejects(run(never, { startDelay: 2_000 }), {
    message: /^k6 in loadtest-. stopped with exit code 108: test aborted: .*127.0.0.1:1.readyz is not ready/,
    nextStep: /ingress.inboundCidrs/,
  })
  jobs.script = fakePod(`${started}\necho "2 exit 137"`)
  await t.rejects(run(), { message: /stopped with exit code 137/, nextStep: /more --generators: .* memory/ })
})

t.test('a pod that starts too late, or by another clock, makes the run invalid', async (t) => {
  const { run, jobs } = await startJob(t)
  jobs.script = fakePod('echo "1 start $(($(cat /loadtest/control/start) + 100))"\nsleep 60')
  await t.rejects(run(), { message: /^loadtest-. started 100 s late/, nextStep: /synchronise the clock/ })
  jobs.script = fakePod('echo "1 start $(($(cat /loadtest/control/start) - 100))"\nsleep 60')
  await t.rejects(run(), { message: / 1\d\d\.\d s behind this machine's clock$/ })
})

t.test('a Job that cannot be deleted is reported, but is no failure', async (t) => {
  const { create, run, jobs, cluster, printed } = await startJob(t)
  jobs.script = fakePod(`${started}\necho "2 exit 0"`)
  t.equal(await run(), null)
  t.match(printed.at(-1), 'the CPU share of the generators is unknown')
  jobs.refusals = { 'DELETE jobs': 403 }
  await run()
  t.match(printed.at(-1), /^the generators remain, .* \(403\): run `kubectl delete job loadtest/)
  jobs.refusals = { 'GET jobs': 200 }
  await run()
  t.match(printed.at(-1), `the Job ${JOB_NAME} is not gone after 0.5 s`)
  const job = create()
  await job.prepare(never)
  await cluster.close()
  await job.close()
  t.match(printed.at(-1), /^the generators remain, .* \(connect ECONNREFUSED/)
})
