import { setTimeout as sleep } from 'node:timers/promises'
import {
  ApiException,
  AppsV1Api,
  AutoscalingV2Api,
  createConfiguration,
  type KubeConfig,
  ServerConfiguration,
  type V2HorizontalPodAutoscalerSpec,
  type V2HorizontalPodAutoscalerStatus,
} from '@kubernetes/client-node'
import { ActionableError, rootCause } from 'shared/errors'
import type { ReplicaSample } from './timeline.ts'

/** Interval between two samples, and the timeout of a request. In milliseconds. */
const pollMs = 2_000
const requestTimeoutMs = 5_000

/** A new autoscaler, or one with new pods, needs up to two metrics periods of 15 s. In milliseconds. */
const activationMs = 60_000

/** A release's autoscaler and its bounds. */
export interface Autoscaler {
  deployment: string
  minReplicas: number
  maxReplicas: number
  /** Target CPU utilisation in percent of the pods' request; null when it scales on another metric. */
  targetPercent: number | null
}

/** A release in a cluster, observed through its HorizontalPodAutoscaler and Deployment. */
export class Cluster {
  readonly namespace: string
  readonly release: string
  readonly #server: string
  readonly #autoscaling: AutoscalingV2Api
  readonly #apps: AppsV1Api

  /** @throws ActionableError when the kubeconfig's context has no cluster. */
  constructor(kubeConfig: KubeConfig, namespace: string, release: string) {
    const server = kubeConfig.getCurrentCluster()?.server
    if (server === undefined) {
      throw new ActionableError(
        `the context ${kubeConfig.getCurrentContext()} has no cluster`,
        'set KUBE_CONTEXT to another context, or add the cluster to your kubeconfig',
      )
    }
    this.namespace = namespace
    this.release = release
    this.#server = server
    const configuration = createConfiguration({
      baseServer: new ServerConfiguration(this.#server, {}),
      authMethods: { default: kubeConfig },
      promiseMiddleware: [
        {
          pre: async (request) => {
            // An unreachable API server must not block the recording.
            request.setSignal(AbortSignal.timeout(requestTimeoutMs))
            return request
          },
          post: async (response) => response,
        },
      ],
    })
    this.#autoscaling = new AutoscalingV2Api(configuration)
    this.#apps = new AppsV1Api(configuration)
  }

  /**
   * Finds the release's autoscaler.
   *
   * @throws ActionableError when there is none, or the API refuses the request.
   */
  async autoscaler(): Promise<Autoscaler> {
    return describe(await this.#read())
  }

  /** Takes one sample of the replicas. A failed request does not throw, but is recorded in the sample. */
  async sample(): Promise<ReplicaSample> {
    try {
      const hpa = await this.#read()
      const deployment = await this.#answer(
        this.#apps.readNamespacedDeployment({ namespace: this.namespace, name: describe(hpa).deployment }),
      )
      return {
        time: Date.now(),
        cpuPercent: currentCpu(hpa),
        desired: hpa.status?.desiredReplicas ?? 0,
        ready: deployment.status?.readyReplicas ?? 0,
        problem: failedCondition(hpa)?.reason ?? null,
      }
    } catch (error) {
      const problem = (error as Error).message
      return { time: Date.now(), cpuPercent: null, desired: null, ready: null, problem }
    }
  }

  /**
   * Samples the replicas now and every 2 s, until `isDone` returns true or `signal` is aborted.
   *
   * @returns the last sample
   */
  async watch(signal: AbortSignal, isDone: (sample: ReplicaSample) => boolean): Promise<ReplicaSample> {
    for (;;) {
      const sample = await this.sample()
      if (isDone(sample) || signal.aborted) return sample
      await pause(signal)
    }
  }

  /**
   * Waits until the autoscaler is active, or `signal` is aborted.
   *
   * @throws ActionableError when it is still inactive after `timeoutMs`, because the load would not scale anything.
   */
  async waitUntilActive(signal: AbortSignal, timeoutMs = activationMs): Promise<void> {
    const deadline = Date.now() + timeoutMs
    while (!signal.aborted) {
      const failure = failedCondition(await this.#read())
      if (failure === undefined) return
      if (isPermanent(failure) || Date.now() > deadline) throw this.#inactiveError(failure)
      await pause(signal)
    }
  }

  async #read(): Promise<SpecifiedAutoscaler> {
    const { items } = await this.#answer(
      this.#autoscaling.listNamespacedHorizontalPodAutoscaler({
        namespace: this.namespace,
        labelSelector: `app.kubernetes.io/instance=${this.release}`,
      }),
    )
    const [hpa] = items
    if (hpa?.spec === undefined) {
      throw new ActionableError(
        `release ${this.release} has no HorizontalPodAutoscaler in namespace ${this.namespace}`,
        'deploy it with `make deploy`, select another with --release and --namespace, or run with --no-cluster',
      )
    }
    return { spec: hpa.spec, status: hpa.status }
  }

  /** Turns a failed request into an ActionableError. */
  async #answer<T>(request: Promise<T>): Promise<T> {
    try {
      return await request
    } catch (error) {
      if (!(error instanceof ApiException)) {
        throw new ActionableError(
          `the Kubernetes API at ${this.#server} does not answer: ${rootCause(error)}`,
          'start the box with `make up`, check KUBE_CONTEXT, or run with --no-cluster',
          { cause: error },
        )
      }
      throw new ActionableError(
        `the Kubernetes API at ${this.#server} answers ${error.code} when asked for release ${this.release}`,
        error.code === 401 || error.code === 403
          ? `use a context that may list horizontalpodautoscalers and deployments in namespace ${this.namespace}`
          : 'try again; if the error persists, see the log of the API server',
        { cause: error },
      )
    }
  }

  #inactiveError({ reason, message }: FailedCondition): ActionableError {
    return new ActionableError(
      `the autoscaler of release ${this.release} does not scale (${reason}): ${message}`,
      nextSteps[reason] ??
        `see \`kubectl describe hpa --namespace ${this.namespace} -l app.kubernetes.io/instance=${this.release}\``,
    )
  }
}

/** A HorizontalPodAutoscaler from the API, which has a specification, but not always a status. */
interface SpecifiedAutoscaler {
  spec: V2HorizontalPodAutoscalerSpec
  status: V2HorizontalPodAutoscalerStatus | undefined
}

/** Reason and message of the condition that makes an autoscaler inactive. */
interface FailedCondition {
  reason: string
  message: string
}

const nextSteps: Record<string, string> = {
  FailedGetResourceMetric:
    'check that metrics-server runs and `kubectl top pods` answers, and that the pods have CPU requests',
  ScalingDisabled:
    'scale the Deployment up from 0 replicas again: an autoscaler ignores a Deployment without replicas',
}

/** Somebody scaled the Deployment to zero, so waiting does not help. */
function isPermanent({ reason }: FailedCondition): boolean {
  return reason === 'ScalingDisabled'
}

/** The condition that makes an autoscaler inactive; undefined when it is active. */
function failedCondition({ status }: SpecifiedAutoscaler): FailedCondition | undefined {
  for (const type of ['AbleToScale', 'ScalingActive']) {
    const condition = status?.conditions?.find((candidate) => candidate.type === type)
    if (condition?.status === 'True') continue
    return {
      reason: condition?.reason ?? 'NotYetEvaluated',
      message: condition?.message ?? 'the controller manager has not evaluated it yet',
    }
  }
  return undefined
}

function describe({ spec }: SpecifiedAutoscaler): Autoscaler {
  const cpu = spec.metrics?.find(({ resource }) => resource?.name === 'cpu')
  return {
    deployment: spec.scaleTargetRef.name,
    minReplicas: spec.minReplicas ?? 1,
    maxReplicas: spec.maxReplicas,
    targetPercent: cpu?.resource?.target.averageUtilization ?? null,
  }
}

function currentCpu({ status }: SpecifiedAutoscaler): number | null {
  const cpu = status?.currentMetrics?.find(({ resource }) => resource?.name === 'cpu')
  return cpu?.resource?.current.averageUtilization ?? null
}

/** Waits for the next sample, or until `signal` is aborted. */
async function pause(signal: AbortSignal): Promise<void> {
  await sleep(pollMs, undefined, { signal }).catch(() => undefined)
}
