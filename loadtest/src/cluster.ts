import { setTimeout as sleep } from 'node:timers/promises'
import type {
  KubeConfig,
  KubernetesObject,
  V1Deployment,
  V2HorizontalPodAutoscaler,
  V2HorizontalPodAutoscalerSpec,
  V2MetricSpec,
} from '@kubernetes/client-node'
import { ActionableError } from 'shared/errors'
import { Nodes } from './nodes.ts'
import { followObjects, type ObjectObserver, type ObjectSource } from './object-watch.ts'
import { type PodChange, Pods } from './pods.ts'
import { ReleaseApi, statusCode } from './release-api.ts'
import type { Autoscaler, RunEvent } from './run-report.ts'
import type { Inventory } from './scaling.ts'
import type { ClusterSample } from './timeline.ts'

/** Interval of the checks while waiting, in milliseconds. */
const pollMs = 200

/** A new autoscaler, or one with new pods, needs up to two metrics periods of 15 s. In milliseconds. */
const activationMs = 60_000

/** Receives what happens in the cluster. */
export interface ClusterObserver {
  /** The state has changed. */
  changed: () => void
  event: (kind: RunEvent['kind'], text: string) => void
  newPodReady: () => void
}

/**
 * A release and its cluster, followed by the watch API: the autoscaler, its Deployment, the pods, and where the context
 * may see them, the nodes and Karpenter's NodeClaims.
 */
export class Cluster {
  readonly api: ReleaseApi
  #observer: ClusterObserver | undefined
  #autoscaler: V2HorizontalPodAutoscaler | undefined
  readonly #deployments = new Map<string, V1Deployment>()
  readonly #pods = new Pods()
  /** Null when the context must not see nodes. */
  #nodes: Nodes | null = null
  /** The kinds of objects that are out of date, and why. */
  readonly #lost = new Map<string, string>()

  /** @throws ActionableError when the kubeconfig's context has no cluster. */
  constructor(kubeConfig: KubeConfig, namespace: string, release: string) {
    this.api = new ReleaseApi(kubeConfig, namespace, release)
  }

  /**
   * Reads the present state, and follows its changes until `signal` is aborted.
   *
   * @throws ActionableError when the release has no autoscaler, or the API refuses the request.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { autoscalers, deployments, pods, nodes, nodeClaims } = this.api
    const [foundAutoscalers, foundDeployments, foundPods] = await this.api.answer(
      Promise.all([autoscalers.list(), deployments.list(), pods.list()]),
    )
    this.#autoscaler = foundAutoscalers.items[0]
    if (this.#autoscaler === undefined) throw this.#noAutoscaler()
    this.#setDeployments(foundDeployments.items)
    this.#pods.begin(foundPods.items, Date.now())
    const foundNodes = await this.#listIfAllowed(nodes)
    const claims = await this.#listIfAllowed(nodeClaims)

    this.#follow('autoscaler', autoscalers, this.#autoscalerObserver(), signal)
    this.#follow('Deployment', deployments, this.#deploymentObserver(), signal)
    this.#follow('pods', pods, this.#podObserver(), signal)
    if (foundNodes !== null) {
      this.#nodes = new Nodes()
      this.#nodes.replace(foundNodes)
      this.#follow('nodes', nodes, this.#nodeObserver(this.#nodes), signal)
    }
    if (claims !== null) this.#follow('NodeClaims', nodeClaims, this.#claimObserver(claims), signal)
  }

  /** Sets who receives what happens from now on. */
  observe(observer: ClusterObserver): void {
    this.#observer = observer
  }

  /** The release's autoscaler. @throws ActionableError when it was deleted. */
  get autoscaler(): Autoscaler {
    if (this.#autoscaler === undefined) throw this.#noAutoscaler()
    return describe(this.#autoscaler)
  }

  /** The state for the timeline, with null for what is out of date. */
  sample(): ClusterSample {
    const problem = [...this.#lost.values()][0]
    const isKnown = (kind: string) => !this.#lost.has(kind)
    const hpa = isKnown('autoscaler') ? this.#autoscaler : undefined
    const nodes = isKnown('nodes') ? this.#nodes : null
    return {
      wanted: hpa?.status?.desiredReplicas ?? null,
      ready: isKnown('Deployment') ? this.#readyReplicas : null,
      podsPending: isKnown('pods') ? this.#pods.pending : null,
      nodes: nodes?.count ?? null,
      karpenterNodes: nodes?.ofKarpenter ?? null,
      cpuPercent: hpa === undefined ? null : currentCpu(hpa),
      problem: problem ?? failedCondition(this.#autoscaler)?.reason ?? null,
    }
  }

  /** What exists as far as is known, also while the API does not answer. */
  inventory(): Inventory {
    return {
      wanted: this.#autoscaler?.status?.desiredReplicas ?? 0,
      ready: this.#readyReplicas,
      pods: this.#pods.count,
      nodes: this.#nodes?.count ?? 0,
      usdPerHour: this.#nodes?.usdPerHour ?? null,
    }
  }

  /** Waits until `isDone`, but not longer than `timeoutMs` or until `signal` is aborted, and returns the last state. */
  async waitUntil(
    signal: AbortSignal,
    timeoutMs: number,
    isDone: (sample: ClusterSample) => boolean,
  ): Promise<ClusterSample> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const sample = this.sample()
      if (isDone(sample) || signal.aborted || Date.now() > deadline) return sample
      await sleep(pollMs, undefined, { signal }).catch(() => undefined)
    }
  }

  /**
   * Waits until the autoscaler is active, or `signal` is aborted.
   *
   * @throws ActionableError when it is still inactive after `timeoutMs`, because the load would not scale anything.
   */
  async waitUntilActive(signal: AbortSignal, timeoutMs = activationMs): Promise<void> {
    await this.waitUntil(signal, timeoutMs, () => {
      const failure = failedCondition(this.#autoscaler)
      if (failure !== undefined && isPermanent(failure)) throw this.#inactiveError(failure)
      return failure === undefined
    })
    const failure = failedCondition(this.#autoscaler)
    if (failure !== undefined && !signal.aborted) throw this.#inactiveError(failure)
  }

  get #readyReplicas(): number {
    const name = this.#autoscaler?.spec?.scaleTargetRef.name ?? ''
    return this.#deployments.get(name)?.status?.readyReplicas ?? 0
  }

  /** Lists objects that not every context may see, and that not every cluster has; null when it does not. */
  async #listIfAllowed<T extends KubernetesObject>(source: ObjectSource<T>): Promise<T[] | null> {
    try {
      return (await source.list()).items
    } catch (error) {
      const code = statusCode(error)
      if (code === 403 || code === 404) return null
      throw this.api.explain(error)
    }
  }

  #follow<T extends KubernetesObject>(
    kind: string,
    source: ObjectSource<T>,
    observer: Omit<ObjectObserver<T>, 'lost'>,
    signal: AbortSignal,
  ): void {
    const known =
      <Arguments extends unknown[]>(apply: (...given: Arguments) => void) =>
      (...given: Arguments) => {
        apply(...given)
        if (this.#lost.delete(kind) && this.#lost.size === 0) {
          this.#observer?.event('problem', 'the Kubernetes API answers again')
        }
        this.#observer?.changed()
      }
    const lost = (error: unknown) => {
      const { message } = this.api.explain(error)
      if (this.#lost.size === 0) this.#observer?.event('problem', message)
      this.#lost.set(kind, message)
      this.#observer?.changed()
    }
    void followObjects(
      source,
      { replace: known(observer.replace), set: known(observer.set), remove: known(observer.remove), lost },
      signal,
    )
  }

  #autoscalerObserver(): Omit<ObjectObserver<V2HorizontalPodAutoscaler>, 'lost'> {
    const set = (hpa: V2HorizontalPodAutoscaler | undefined) => {
      const [before, after] = [this.#autoscaler, hpa].map((it) => it?.status?.desiredReplicas)
      const [failure, failureBefore] = [hpa, this.#autoscaler].map((it) => failedCondition(it)?.reason)
      this.#autoscaler = hpa
      if (after !== undefined && before !== undefined && after !== before) {
        this.#observer?.event('scale', `the autoscaler wants ${after} replicas instead of ${before}`)
      }
      if (failure !== undefined && failure !== failureBefore) {
        this.#observer?.event('problem', `the autoscaler does not scale: ${failure}`)
      }
    }
    return { replace: ([hpa]) => set(hpa), set, remove: () => set(undefined) }
  }

  #deploymentObserver(): Omit<ObjectObserver<V1Deployment>, 'lost'> {
    return {
      replace: (deployments) => this.#setDeployments(deployments),
      set: (deployment) => this.#deployments.set(nameOf(deployment), deployment),
      remove: (deployment) => this.#deployments.delete(nameOf(deployment)),
    }
  }

  #podObserver(): Omit<ObjectObserver<Parameters<Pods['set']>[0]>, 'lost'> {
    const report = (changes: PodChange[]) => {
      for (const { kind, text, isNewAndReady } of changes) {
        this.#observer?.event(kind, text)
        if (isNewAndReady) this.#observer?.newPodReady()
      }
    }
    return {
      replace: (pods) => report(this.#pods.replace(pods, Date.now())),
      set: (pod) => report(this.#pods.set(pod, Date.now())),
      remove: (pod) => report(this.#pods.remove(pod)),
    }
  }

  #nodeObserver(nodes: Nodes): Omit<ObjectObserver<Parameters<Nodes['set']>[0]>, 'lost'> {
    const report = (texts: string[]) => {
      for (const text of texts) this.#observer?.event('node', text)
    }
    return {
      replace: (items) => report(nodes.replace(items)),
      set: (node) => report(nodes.set(node)),
      remove: (node) => report(nodes.remove(node)),
    }
  }

  #claimObserver(existing: KubernetesObject[]): Omit<ObjectObserver<KubernetesObject>, 'lost'> {
    const known = new Set(existing.map(nameOf))
    const set = (claim: KubernetesObject) => {
      const name = nameOf(claim)
      if (known.has(name)) return
      known.add(name)
      this.#observer?.event('node', `Karpenter launches a node for NodeClaim ${name}`)
    }
    return {
      replace: (claims) => {
        for (const claim of claims) set(claim)
      },
      set,
      remove: (claim) => known.delete(nameOf(claim)),
    }
  }

  #setDeployments(deployments: V1Deployment[]): void {
    this.#deployments.clear()
    for (const deployment of deployments) this.#deployments.set(nameOf(deployment), deployment)
  }

  #noAutoscaler(): ActionableError {
    const { release, namespace } = this.api
    return new ActionableError(
      `release ${release} has no HorizontalPodAutoscaler in namespace ${namespace}`,
      'deploy it with `make deploy`, select another with --release and --namespace, or run with --no-cluster',
    )
  }

  #inactiveError({ reason, message }: FailedCondition): ActionableError {
    const { release, namespace } = this.api
    return new ActionableError(
      `the autoscaler of release ${release} does not scale (${reason}): ${message}`,
      nextSteps[reason] ??
        `see \`kubectl describe hpa --namespace ${namespace} -l app.kubernetes.io/instance=${release}\``,
    )
  }
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
function failedCondition(hpa: V2HorizontalPodAutoscaler | undefined): FailedCondition | undefined {
  for (const type of ['AbleToScale', 'ScalingActive']) {
    const condition = hpa?.status?.conditions?.find((candidate) => candidate.type === type)
    if (condition?.status === 'True') continue
    return {
      reason: condition?.reason ?? 'NotYetEvaluated',
      message: condition?.message ?? 'the controller manager has not evaluated it yet',
    }
  }
  return undefined
}

function describe({ spec }: V2HorizontalPodAutoscaler): Autoscaler {
  // The API has none without a specification; only the client's type allows it.
  const { scaleTargetRef, minReplicas = 1, maxReplicas, metrics = [] } = spec as V2HorizontalPodAutoscalerSpec
  return {
    deployment: scaleTargetRef.name,
    minReplicas,
    maxReplicas,
    targets: metrics.flatMap(describeTarget),
  }
}

/** The target of a resource in percent of its request, or of another metric as a quantity per pod or in all. */
function describeTarget({ resource, pods, object, external }: V2MetricSpec): Autoscaler['targets'] {
  if (resource?.target.averageUtilization !== undefined) {
    return [{ metric: resource.name, target: resource.target.averageUtilization, unit: '%' }]
  }
  const other = pods ?? object ?? external
  const quantity = other?.target.averageValue ?? other?.target.value
  return other === undefined || quantity === undefined
    ? []
    : [{ metric: other.metric.name, target: parseQuantity(quantity), unit: '' }]
}

/** Reads a Kubernetes quantity in the forms that metrics have: `20`, `1500m`, `2k`. */
function parseQuantity(text: string): number {
  return Number(text.replace('m', 'e-3').replace('k', 'e3'))
}

function currentCpu({ status }: V2HorizontalPodAutoscaler): number | null {
  const cpu = status?.currentMetrics?.find(({ resource }) => resource?.name === 'cpu')
  return cpu?.resource?.current.averageUtilization ?? null
}

function nameOf({ metadata }: KubernetesObject): string {
  return String(metadata?.name)
}
