import { setTimeout as sleep } from 'node:timers/promises'
import {
  ApiException,
  ApisApi,
  AutoscalingV2Api,
  CoreV1Api,
  type KubeConfig,
  PatchStrategy,
  setHeaderOptions,
  type V1Pod,
  type V2HorizontalPodAutoscaler,
  type V2MetricSpec,
  type V2MetricStatus,
} from '@kubernetes/client-node'
import { type ClusterAccess, loadKubeConfig } from 'shared/cluster-access'
import { SERVICE } from 'shared/environment'
import { ActionableError, rootCause } from 'shared/errors'
import { helmCause } from '../deploy/helm-release.ts'
import { CHART, NAMESPACE, Release } from '../deploy/release.ts'
import { releaseValues, type Setting, type Signal } from './plan.ts'

/** Interval of the checks while waiting, in milliseconds. */
const POLL_MS = 2_000

/**
 * How long the autoscaler may take to report a metric, in seconds: the adapter lists new series once a minute, two scrapes
 * take 30 s, and the autoscaler reads every 15 s. Pods of an earlier load that still drain take 40 s.
 */
const SETTLE_SECONDS = 180

/** Interval of the checks for pods that became ready, in milliseconds. */
const RESIZE_MS = 500

/** The service's release while its signals are compared. */
export class ComparedRelease {
  readonly #release: Release
  readonly #kubeConfig: KubeConfig
  /** The revision to restore. */
  readonly #revision: number
  #isChanged = false

  private constructor(release: Release, kubeConfig: KubeConfig, revision: number) {
    this.#release = release
    this.#kubeConfig = kubeConfig
    this.#revision = revision
  }

  /** @throws ActionableError when the cluster has no release that is deployed and at rest. */
  static async find(helm: string, access: ClusterAccess): Promise<ComparedRelease> {
    const release = new Release(helm, access)
    const newest = (await release.history()).at(-1)
    if (newest?.status !== 'deployed') {
      throw new ActionableError(
        newest === undefined
          ? `the release ${SERVICE} is not deployed`
          : `revision ${newest.revision} of the release ${SERVICE} is ${newest.status}`,
        'run `make deploy`',
      )
    }
    return new ComparedRelease(release, loadKubeConfig(access), newest.revision)
  }

  /** @throws ActionableError when a signal needs metrics that the cluster does not have. */
  async requireMetrics(signals: readonly Signal[]): Promise<void> {
    if (signals.every((signal) => signal === 'cpu')) return
    const { groups } = await read(this.#kubeConfig.makeApiClient(ApisApi).getAPIVersions())
    if (groups.some(({ name }) => name === 'custom.metrics.k8s.io')) return
    throw new ActionableError(
      'the cluster has no metrics for the signals elu and requests',
      'install Prometheus and its adapter with `make monitoring`',
    )
  }

  /**
   * Deploys the release with a signal. Returns early if `stop` is aborted.
   *
   * @throws ActionableError when Helm fails
   */
  async deploy(signal: Signal, setting: Setting, stop: AbortSignal): Promise<void> {
    this.#isChanged = true
    const { failed, all } = await this.#release.helm(
      [
        ...['upgrade', SERVICE, CHART, '--reset-then-reuse-values', '--values', '-'],
        // There is nothing to migrate. Without a limit of the history, the revision to restore remains.
        ...['--no-hooks', '--history-max', '0'],
        ...['--wait', '--timeout', `${this.#release.timeout}s`],
      ],
      { input: JSON.stringify(releaseValues(signal, setting)), signal: stop },
    )
    if (!failed || stop.aborted) return
    throw new ActionableError(
      `the release could not be deployed with the signal ${signal}: ${helmCause(all)}`,
      `see \`helm history ${SERVICE} --namespace ${NAMESPACE}\` and \`kubectl get events --namespace ${NAMESPACE}\``,
    )
  }

  /**
   * Waits until the release has its minimum of replicas, and the autoscaler a value of each metric. Returns early if
   * `stop` is aborted.
   *
   * @throws ActionableError when that takes too long
   */
  async awaitSettled(stop: AbortSignal, timeoutSeconds = SETTLE_SECONDS): Promise<void> {
    const deadline = Date.now() + timeoutSeconds * 1_000
    for (;;) {
      const problem = unsettled(await this.#autoscaler())
      if (problem === undefined || stop.aborted) return
      if (Date.now() > deadline) {
        throw new ActionableError(
          `${problem} after ${timeoutSeconds} s`,
          `see \`kubectl describe hpa --namespace ${NAMESPACE}\`; elu and requests need \`make monitoring\``,
        )
      }
      await sleep(POLL_MS, undefined, { signal: stop }).catch(() => undefined)
    }
  }

  /**
   * Limits the CPU of each pod as soon as it is ready, in place, until `stop` is aborted.
   *
   * @throws ActionableError when the cluster refuses
   */
  async limitReadyPods(cpuLimit: string, stop: AbortSignal): Promise<void> {
    const core = this.#kubeConfig.makeApiClient(CoreV1Api)
    const limited = new Set<string>()
    const labelSelector = `app.kubernetes.io/instance=${SERVICE},pod-template-hash`
    while (!stop.aborted) {
      const { items } = await read(core.listNamespacedPod({ namespace: NAMESPACE, labelSelector }))
      for (const pod of items.filter(isReady)) {
        const name = pod.metadata?.name ?? ''
        if (limited.has(name)) continue
        const resources = { limits: { cpu: cpuLimit } }
        const containers = pod.spec?.containers.map(({ name }) => ({ name, resources }))
        await read(
          core
            .patchNamespacedPodResize(
              { name, namespace: NAMESPACE, body: { spec: { containers } } },
              setHeaderOptions('Content-Type', PatchStrategy.StrategicMergePatch),
            )
            .catch(ignoreDeleted),
        )
        limited.add(name)
      }
      await sleep(RESIZE_MS, undefined, { signal: stop }).catch(() => undefined)
    }
  }

  /**
   * Gives the release its own values again, if they have changed.
   *
   * @throws ActionableError when Helm fails
   */
  async restore(): Promise<void> {
    if (this.#isChanged) await this.#release.rollBackTo(this.#revision)
  }

  async #autoscaler(): Promise<V2HorizontalPodAutoscaler | undefined> {
    const { items } = await read(
      this.#kubeConfig.makeApiClient(AutoscalingV2Api).listNamespacedHorizontalPodAutoscaler({
        namespace: NAMESPACE,
        labelSelector: `app.kubernetes.io/instance=${SERVICE}`,
      }),
    )
    return items[0]
  }
}

/** Turns a failed request into an ActionableError. */
async function read<T>(request: Promise<T>): Promise<T> {
  try {
    return await request
  } catch (cause) {
    throw new ActionableError(`the cluster cannot be read: ${rootCause(cause)}`, 'see `make status`', {
      cause,
    })
  }
}

const isReady = ({ status }: V1Pod) =>
  status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true

function ignoreDeleted(error: unknown): void {
  if (!(error instanceof ApiException && error.code === 404)) throw error
}

/** Why the autoscaler does not rest at its minimum with a value of each metric; undefined when it does. */
export function unsettled(autoscaler: V2HorizontalPodAutoscaler | undefined): string | undefined {
  if (autoscaler?.spec === undefined) return 'the release has no autoscaler'
  const { spec, status } = autoscaler
  const known = new Set((status?.currentMetrics ?? []).map(metricName))
  const unknown = (spec.metrics ?? []).map(metricName).filter((name) => !known.has(name))
  if (unknown.length > 0) return `the autoscaler has no value of ${unknown.join(' and ')}`
  const { currentReplicas, desiredReplicas } = status ?? {}
  if (currentReplicas === spec.minReplicas && desiredReplicas === spec.minReplicas) return undefined
  return `the autoscaler has ${currentReplicas} replicas and wants ${desiredReplicas} instead of ${spec.minReplicas}`
}

/** A metric that cannot be read has no name in the status. */
const metricName = ({ resource, pods }: V2MetricSpec | V2MetricStatus) => resource?.name ?? pods?.metric.name
