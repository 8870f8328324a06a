import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { BatchV1Api, CoreV1Api, PatchStrategy, setHeaderOptions, type V1Pod } from '@kubernetes/client-node'
import { ActionableError, rootCause } from 'shared/errors'
import type { Generator, Point } from './generator.ts'
import {
  JOB_NAME,
  type JobLoad,
  jobManifest,
  programManifest,
  START_ANNOTATION,
  STARTUP_SECONDS,
} from './job-manifest.ts'
import { followPodLog } from './pod-log.ts'
import { LostLines, PodOutput } from './pod-output.ts'
import { type ReleaseApi, statusCode } from './release-api.ts'

/** Where a Job runs, and what it does. */
export interface JobOptions extends Omit<JobLoad, 'release'> {
  /** The API of the release under load. The Job runs in its namespace. */
  api: ReleaseApi
  baseUrl: string
  print: (line: string) => void
}

/** How long things take, in milliseconds. Tests wait less. */
export interface Patience {
  /** Until all pods run. */
  startup: number
  /** From the annotation of the pods to their start. The kubelet writes it to their file within a second or two. */
  startDelay: number
  /**
   * How far the start of a pod may be from the planned time, and its clock from this machine's. The recorder judges 5 s of
   * traffic 2 s after their end, so the points must not be later.
   */
  skew: number
  /** Without a new line, before a pod counts as lost. */
  lost: number
  /** Between two looks at the pods, and before a log is opened again. */
  retry: number
  /** Until the Job is gone. */
  removal: number
}

const patience: Patience = {
  startup: STARTUP_SECONDS * 1_000,
  startDelay: 8_000,
  skew: 1_500,
  lost: 60_000,
  retry: 1_000,
  removal: 60_000,
}

/** The shell's exit code of a program that was killed with SIGKILL. */
const killed = 128 + constants.signals.SIGKILL

/** Selects the pods of the Job. */
const ofJob = `batch.kubernetes.io/job-name=${JOB_NAME}`

const permissions = 'create, get and delete jobs, create configmaps, list and patch pods, and get pods/log'

/** k6 in the pods of a Job, next to the release in its namespace. Each pod sends the same share of the load. */
export class K6Job implements Generator {
  readonly baseUrl: string
  readonly pods: number
  readonly #options: JobOptions
  readonly #patience: Patience
  readonly #jobs: BatchV1Api
  readonly #core: CoreV1Api
  /** The UID of the Job while it exists. */
  #job: string | undefined
  /** Names of the running pods. */
  #running: string[] = []

  constructor(options: JobOptions, times: Partial<Patience> = {}) {
    this.baseUrl = options.baseUrl
    this.pods = options.pods
    this.#options = options
    this.#patience = { ...patience, ...times }
    this.#jobs = new BatchV1Api(options.api.configuration)
    this.#core = new CoreV1Api(options.api.configuration)
  }

  async prepare(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const { pods, print } = this.#options
    await this.#create()
    print(`waiting for ${pods} generators, up to ${this.#patience.startup / 1_000} s`)
    const deadline = Date.now() + this.#patience.startup
    while (!signal.aborted) {
      const found = await this.#asked('for pods', this.#listPods())
      for (const pod of found) this.#requireStartable(pod)
      if (found.length < pods) await this.#requireNoRefusal()
      const running = found.filter(({ status }) => status?.phase === 'Running')
      if (running.length === pods) {
        this.#running = running.map(nameOf)
        return
      }
      if (Date.now() > deadline) throw this.#notStarted(found, running.length)
      await pause(this.#patience.retry, signal)
    }
  }

  async send(signal: AbortSignal, onPoint: (point: Point) => void): Promise<number | null> {
    if (signal.aborted) return null
    const failure = new AbortController()
    const stop = AbortSignal.any([signal, failure.signal])
    const start = Math.ceil((Date.now() + this.#patience.startDelay) / 1_000)
    const following = this.#running.map(async (pod) => {
      try {
        return await this.#follow(pod, start, stop, onPoint)
      } catch (error) {
        failure.abort()
        throw error
      }
    })
    const starting = Promise.all(this.#running.map((pod) => this.#start(pod, start)))
    starting.catch(() => failure.abort())
    // All must have ended, so that none reports a point after a failure.
    const outcomes = await Promise.allSettled([starting, ...following])
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
    if (signal.aborted) await this.close()
    const shares = (await Promise.all(following)).filter((share) => share !== null)
    if (shares.length > 0) return Math.max(...shares)
    this.#options.print('the CPU share of the generators is unknown: the load ended before two readings')
    return null
  }

  async close(): Promise<void> {
    if (this.#job === undefined) return
    this.#job = undefined
    const { api, print } = this.#options
    const job = { name: JOB_NAME, namespace: api.namespace }
    try {
      await this.#jobs.deleteNamespacedJob({ ...job, propagationPolicy: 'Foreground' })
      const deadline = Date.now() + this.#patience.removal
      while (Date.now() < deadline) {
        await this.#jobs.readNamespacedJob(job)
        await sleep(this.#patience.retry)
      }
      print(
        `the Job ${JOB_NAME} is not gone after ${this.#patience.removal / 1_000} s; its deletion continues`,
      )
    } catch (error) {
      if (statusCode(error) === 404) return
      print(
        `the generators remain, because the Kubernetes API does not delete them (${statusCode(error) ?? rootCause(error)}): run ${this.#deleteCommand()}`,
      )
    }
  }

  async #create(): Promise<void> {
    const { api } = this.#options
    const { namespace, release } = api
    try {
      const body = jobManifest({ ...this.#options, release })
      const job = await this.#jobs.createNamespacedJob({ namespace, body })
      this.#job = job.metadata?.uid
      // The pods wait for it.
      await this.#core.createNamespacedConfigMap({ namespace, body: programManifest(job) })
    } catch (error) {
      if (statusCode(error) === 409) {
        throw new ActionableError(
          `namespace ${namespace} has a Job ${JOB_NAME} already: another load test runs, or was killed`,
          `wait until it has ended, or delete it with ${this.#deleteCommand()}`,
          { cause: error },
        )
      }
      throw this.#explain('to create a Job', error)
    }
  }

  /** @throws ActionableError when a pod will not start. */
  #requireStartable({ metadata, status }: V1Pod): void {
    if (status?.phase === 'Failed') throw this.#failed(String(metadata?.name), status)
    const waiting = status?.containerStatuses?.[0]?.state?.waiting
    if (!['ImagePullBackOff', 'InvalidImageName'].includes(waiting?.reason ?? '')) return
    throw new ActionableError(
      `the image of the generators cannot be pulled: ${oneLine(waiting?.message ?? this.#options.image)}`,
      'set K6_IMAGE to an image of k6 that the nodes can pull, for example a copy in ECR',
    )
  }

  /** @throws ActionableError when the cluster refuses to create the pods. */
  async #requireNoRefusal(): Promise<void> {
    const { namespace } = this.#options.api
    const fieldSelector = `involvedObject.uid=${this.#job},reason=FailedCreate`
    // Only explains what the time limit would end as well, so it is no failure if the context must not see events.
    const events = await this.#core.listNamespacedEvent({ namespace, fieldSelector }).catch(() => undefined)
    const refusal = events?.items[0]
    if (refusal === undefined) return
    throw new ActionableError(
      `the cluster refuses the pods of the generators: ${oneLine(String(refusal.message))}`,
      `raise the quota of namespace ${namespace}, or use fewer --generators`,
    )
  }

  #notStarted(found: V1Pod[], running: number): ActionableError {
    const conditions = found.flatMap(({ status }) => status?.conditions ?? [])
    const unschedulable = conditions.find(({ type, status }) => type === 'PodScheduled' && status === 'False')
    const text = `only ${running} of ${this.pods} generators run after ${this.#patience.startup / 1_000} s`
    if (unschedulable !== undefined) {
      return new ActionableError(
        `${text}: ${oneLine(String(unschedulable.message))}`,
        'use fewer --generators, or raise the limits of the NodePool (BOX_MAX_NODES in the box)',
      )
    }
    return new ActionableError(
      text,
      `run it again, and meanwhile \`kubectl describe pods --namespace ${this.#options.api.namespace} --selector ${ofJob}\``,
    )
  }

  async #start(name: string, start: number): Promise<void> {
    const { namespace } = this.#options.api
    const body = { metadata: { annotations: { [START_ANNOTATION]: String(start) } } }
    const options = setHeaderOptions('Content-Type', PatchStrategy.MergePatch)
    await this.#asked('to start the pods', this.#core.patchNamespacedPod({ name, namespace, body }, options))
  }

  /** Reads the log of a pod to its last line, over as many connections as it takes, and returns its CPU share. */
  async #follow(
    pod: string,
    start: number,
    signal: AbortSignal,
    onPoint: (point: Point) => void,
  ): Promise<number | null> {
    const { kubeConfig, namespace } = this.#options.api
    const output = new PodOutput()
    let lastProgress = start * 1_000
    const read = (line: string) => {
      const { progress, startedAt } = output
      const point = output.read(line)
      if (output.progress > progress) lastProgress = Date.now()
      if (startedAt === undefined && output.startedAt !== undefined) {
        this.#requirePunctual(pod, start, output.startedAt)
      }
      if (point !== undefined && !signal.aborted) onPoint(point)
    }
    while (!signal.aborted && output.exitCode === undefined) {
      let lost: unknown
      try {
        await followPodLog(kubeConfig, namespace, pod, signal, read)
      } catch (error) {
        if (error instanceof ActionableError) throw error
        if (error instanceof LostLines) throw this.#incomplete(pod, error)
        lost = error
      }
      if (signal.aborted || output.exitCode !== undefined) break
      await this.#requireAlive(pod)
      if (Date.now() - lastProgress > this.#patience.lost) throw this.#unreadable(pod, lost)
      await pause(this.#patience.retry, signal)
    }
    if (output.exitCode !== undefined && output.exitCode !== 0) throw this.#exited(pod, output)
    return output.cpuShare
  }

  /** @throws ActionableError when a pod has started too early or too late for its points to be merged. */
  #requirePunctual(pod: string, start: number, startedAt: number): void {
    const late = startedAt - start
    const skew = Date.now() / 1_000 - startedAt
    if (Math.max(late, Math.abs(skew)) * 1_000 <= this.#patience.skew) return
    throw new ActionableError(
      `${pod} started ${late} s late, and its clock and log are ${skew.toFixed(1)} s behind this machine's clock`,
      'synchronise the clock of this machine, for example with `timedatectl set-ntp true`, and run it again',
    )
  }

  /** @throws ActionableError when a pod has failed or is gone. */
  async #requireAlive(name: string): Promise<void> {
    // The API may be unavailable for a while, like the log.
    const found = await this.#listPods().catch(() => undefined)
    if (found === undefined) return
    const pod = found.find((candidate) => nameOf(candidate) === name)
    // After the failure of one pod, the Job deletes the others.
    const failed = found.find(({ status }) => status?.phase === 'Failed')
    if (failed !== undefined) throw this.#failed(nameOf(failed), failed.status)
    if (pod === undefined || pod.metadata?.deletionTimestamp !== undefined)
      throw this.#failed(name, undefined)
  }

  #failed(pod: string, status: V1Pod['status']): ActionableError {
    const { reason, exitCode } = status?.containerStatuses?.[0]?.state?.terminated ?? {}
    const ended = exitCode === undefined ? 'it was deleted' : `${reason}, exit code ${exitCode}`
    const cause = [status?.reason, status?.message].filter((text) => text !== undefined).join(': ')
    return new ActionableError(
      `the run is invalid, because ${pod} failed: ${oneLine(cause === '' ? ended : cause)}`,
      `run it again; \`kubectl get events --namespace ${this.#options.api.namespace}\` shows what happened to the pod and its node`,
    )
  }

  #exited(pod: string, { exitCode, lastError }: PodOutput): ActionableError {
    return new ActionableError(
      `k6 in ${pod} stopped with exit code ${exitCode}: ${lastError}`,
      exitCode === killed
        ? 'use more --generators: the kernel kills k6 when it needs more memory than its pod has'
        : `check that pods reach ${this.baseUrl}: its load balancer has to admit the addresses from which the cluster reaches it (ingress.inboundCidrs)`,
    )
  }

  #incomplete(pod: string, error: LostLines): ActionableError {
    return new ActionableError(
      `the run is invalid, because ${error.count} lines of ${pod} are lost: its log was rotated while the connection to it was lost`,
      'run it again; with more --generators, each writes a shorter log',
      { cause: error },
    )
  }

  #unreadable(pod: string, error: unknown): ActionableError {
    const code = statusCode(error)
    return new ActionableError(
      `the run is invalid, because the log of ${pod} cannot be read: ${code === undefined ? rootCause(error ?? 'it ended too early') : `the Kubernetes API answers ${code}`}`,
      code === 403
        ? `use a context that may ${permissions} in namespace ${this.#options.api.namespace}`
        : 'check the connection to the Kubernetes API and the node of the pod, and run it again',
      { cause: error },
    )
  }

  async #listPods(): Promise<V1Pod[]> {
    const { namespace } = this.#options.api
    return (await this.#core.listNamespacedPod({ namespace, labelSelector: ofJob })).items
  }

  async #asked<T>(request: string, answer: Promise<T>): Promise<T> {
    try {
      return await answer
    } catch (error) {
      throw this.#explain(request, error)
    }
  }

  #explain(request: string, error: unknown): ActionableError {
    return this.#options.api.explain(error, request, permissions)
  }

  #deleteCommand(): string {
    return `\`kubectl delete job ${JOB_NAME} --namespace ${this.#options.api.namespace}\``
  }
}

function nameOf({ metadata }: V1Pod): string {
  return String(metadata?.name)
}

/** The messages of the kubelet and of the scheduler may have several lines. */
function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim()
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined)
}
