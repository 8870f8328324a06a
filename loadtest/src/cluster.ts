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

/** Milliseconds between two looks at the cluster, and how long one may take. */
const pollMs = 2_000
const requestTimeoutMs = 5_000

/** An autoscaler that has just been made, or whose pods have, needs up to two rounds of metrics of 15 s. */
const activationMs = 60_000

/** The autoscaler of a release and the bounds it works within. */
export interface Autoscaler {
  deployment: string
  minReplicas: number
  maxReplicas: number
  /** Target for the pods' CPU in percent of their request; null when it scales by something else. */
  targetPercent: number | null
}

/** A release in a cluster, seen through its HorizontalPodAutoscaler and Deployment. */
export class Cluster {
  readonly namespace: string
  readonly release: string
  readonly #server: string
  readonly #autoscaling: AutoscalingV2Api
  readonly #apps: AppsV1Api

  /** @throws ActionableError when the kubeconfig's context leads to no cluster. */
  constructor(kubeConfig: KubeConfig, namespace: string, release: string) {
    const server = kubeConfig.getCurrentCluster()?.server
    if (server === undefined) {
      throw new ActionableError(
        `context ${kubeConfig.getCurrentContext()} leads to no cluster`,
        'name another with KUBE_CONTEXT, or put the cluster into your kubeconfig',
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
            // An API server that has gone must cost one sample, not the rest of the recording.
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
   * @throws ActionableError when there is none, or the API does not let us see it.
   */
  async autoscaler(): Promise<Autoscaler> {
    return describe(await this.#read())
  }

  /** Looks at the replicas once. A cluster that does not answer is part of what is recorded, not an error. */
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
        problem: inactive(hpa)?.reason ?? null,
      }
    } catch (error) {
      const problem = (error as Error).message
      return { time: Date.now(), cpuPercent: null, desired: null, ready: null, problem }
    }
  }

  /**
   * Looks at the replicas at once and every 2 s, until `enough` says so or `signal` is aborted.
   *
   * @returns what was seen last
   */
  async watch(signal: AbortSignal, enough: (sample: ReplicaSample) => boolean): Promise<ReplicaSample> {
    for (;;) {
      const sample = await this.sample()
      if (enough(sample) || signal.aborted) return sample
      await pause(signal)
    }
  }

  /**
   * Waits until the autoscaler does its work, or `signal` is aborted.
   *
   * @param patienceMs milliseconds after which it should have been
   * @throws ActionableError when it still does not by then: load would scale nothing.
   */
  async waitUntilActive(signal: AbortSignal, patienceMs = activationMs): Promise<void> {
    const deadline = Date.now() + patienceMs
    while (!signal.aborted) {
      const obstacle = inactive(await this.#read())
      if (obstacle === undefined) return
      if (isFinal(obstacle) || Date.now() > deadline) throw this.#inactiveError(obstacle)
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
        'deploy it with `make deploy`, name another with --release and --namespace, or run with --no-cluster',
      )
    }
    return { spec: hpa.spec, status: hpa.status }
  }

  /** Turns whatever keeps the API from answering into one line. */
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
          ? `use a context that may see horizontalpodautoscalers and deployments in namespace ${this.namespace}`
          : 'try again; if it stays so, look at the log of the API server',
        { cause: error },
      )
    }
  }

  #inactiveError({ reason, message }: Obstacle): ActionableError {
    return new ActionableError(
      `the autoscaler of release ${this.release} does not scale (${reason}): ${message}`,
      nextSteps[reason] ??
        `see \`kubectl describe hpa --namespace ${this.namespace} -l app.kubernetes.io/instance=${this.release}\``,
    )
  }
}

/** A HorizontalPodAutoscaler as the API returns it: the specification is there, the status soon after. */
interface SpecifiedAutoscaler {
  spec: V2HorizontalPodAutoscalerSpec
  status: V2HorizontalPodAutoscalerStatus | undefined
}

/** Why an autoscaler does not work, in the words of its conditions. */
interface Obstacle {
  reason: string
  message: string
}

const nextSteps: Record<string, string> = {
  FailedGetResourceMetric:
    'check that metrics-server runs and `kubectl top pods` answers, and that the pods have CPU requests',
  ScalingDisabled: 'give the Deployment replicas again: an autoscaler leaves one that has none alone',
}

/** Someone scaled the Deployment to nothing: a decision that waiting does not change. */
function isFinal({ reason }: Obstacle): boolean {
  return reason === 'ScalingDisabled'
}

/** What keeps the autoscaler from its work; undefined when nothing does. */
function inactive({ status }: SpecifiedAutoscaler): Obstacle | undefined {
  for (const type of ['AbleToScale', 'ScalingActive']) {
    const condition = status?.conditions?.find((candidate) => candidate.type === type)
    if (condition?.status === 'True') continue
    return {
      reason: condition?.reason ?? 'NotYetEvaluated',
      message: condition?.message ?? 'the controller manager has not looked at it yet',
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

/** Waits for the next look; a stop ends the wait, and the caller's loop with it. */
async function pause(signal: AbortSignal): Promise<void> {
  await sleep(pollMs, undefined, { signal }).catch(() => undefined)
}
