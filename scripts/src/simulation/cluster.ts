import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  ApiException,
  CoreV1Api,
  CustomObjectsApi,
  type KubeConfig,
  KubernetesObjectApi,
  loadYaml,
  PatchStrategy,
  type V1Node,
  type V1Pod,
  Watch,
} from '@kubernetes/client-node'
import { ActionableError, rootCause } from 'shared/errors'
import { deployment, foundation, INSTALLED_LABEL, type Manifest, SIMULATION, WORKLOAD } from './manifests.ts'
import type { Size } from './workload.ts'

/** The simulated pods and nodes at a moment. */
export interface State {
  /** Pods that are not being deleted, and how many of them have a node and run. */
  pods: number
  bound: number
  running: number
  /** Nodes by instance type, including those that are being removed. */
  nodes: ReadonlyMap<string, number>
}

/** What is known about a pod. */
interface PodState {
  isBound: boolean
  isRunning: boolean
}

const ofSimulation = `karpenter.sh/nodepool=${SIMULATION}`
const definitionKind = { apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition' }

/** How many requests the clean-up sends at the same time. */
const PARALLEL_REQUESTS = 20

/** The simulated part of the box's cluster. */
export class SimulatedCluster {
  readonly #kubeConfig: KubeConfig
  readonly #objects: KubernetesObjectApi
  readonly #core: CoreV1Api
  readonly #custom: CustomObjectsApi
  readonly #pods = new Map<string, PodState>()
  readonly #nodes = new Map<string, string>()
  #bound = 0
  #running = 0

  constructor(kubeConfig: KubeConfig) {
    this.#kubeConfig = kubeConfig
    this.#objects = KubernetesObjectApi.makeApiClient(kubeConfig)
    this.#core = kubeConfig.makeApiClient(CoreV1Api)
    this.#custom = kubeConfig.makeApiClient(CustomObjectsApi)
  }

  get state(): State {
    const nodes = new Map<string, number>()
    for (const type of this.#nodes.values()) nodes.set(type, (nodes.get(type) ?? 0) + 1)
    return { pods: this.#pods.size, bound: this.#bound, running: this.#running, nodes }
  }

  /** Installs the definitions that the cluster lacks, and creates the namespace, the node class and the NodePool. */
  async prepare(definitionsDirectory: string, types: readonly string[]): Promise<void> {
    await answered(async () => {
      for (const file of (await readdir(definitionsDirectory)).toSorted()) {
        const text = await readFile(join(definitionsDirectory, file), 'utf8')
        await this.#installDefinition(loadYaml<Manifest>(text))
      }
      for (const manifest of foundation(types)) await this.#apply(manifest)
    })
  }

  /** Sets the number of pods. */
  async scale(pods: number, size: Size): Promise<void> {
    await answered(() => this.#apply(deployment(pods, size)))
  }

  /** Whether Karpenter has accepted the NodePool. */
  async isPoolReady(): Promise<boolean> {
    const header = { apiVersion: 'karpenter.sh/v1', kind: 'NodePool', metadata: { name: SIMULATION } }
    const pool = await answered(() => this.#objects.read<Conditioned>(header))
    return isTrue(pool, 'Ready')
  }

  /** Keeps `state` current until `signal` is aborted. */
  follow(signal: AbortSignal): void {
    void this.#watch<V1Pod>(
      `/api/v1/namespaces/${SIMULATION}/pods`,
      {},
      signal,
      (type, pod) => this.#recordPod(type, pod),
      () => {
        this.#pods.clear()
        this.#bound = 0
        this.#running = 0
      },
    )
    void this.#watch<V1Node>(
      '/api/v1/nodes',
      { labelSelector: ofSimulation },
      signal,
      (type, { metadata }) => {
        const name = metadata?.name ?? ''
        if (type === 'DELETED') this.#nodes.delete(name)
        else this.#nodes.set(name, metadata?.labels?.['node.kubernetes.io/instance-type'] ?? 'unknown')
      },
      () => this.#nodes.clear(),
    )
  }

  /**
   * Removes everything that a simulation created, also without its Karpenter and kwok. Objects that do not exist are
   * not an error.
   */
  async remove(): Promise<void> {
    await answered(async () => {
      await this.#delete({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: WORKLOAD, namespace: SIMULATION },
      })
      await this.#delete({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: SIMULATION } })
      if (await this.#exists('nodepools.karpenter.sh')) {
        await this.#delete({
          apiVersion: 'karpenter.sh/v1',
          kind: 'NodePool',
          metadata: { name: SIMULATION },
        })
        const nodeClaims = { group: 'karpenter.sh', version: 'v1', plural: 'nodeclaims' }
        await this.#removeAll('karpenter.sh/v1', 'NodeClaim', () =>
          this.#custom.deleteCollectionClusterCustomObject({ ...nodeClaims, labelSelector: ofSimulation }),
        )
      }
      await this.#removeAll('v1', 'Node', () =>
        this.#core.deleteCollectionNode({ labelSelector: ofSimulation }),
      )
      if (await this.#exists('kwoknodeclasses.karpenter.kwok.sh')) {
        const apiVersion = 'karpenter.kwok.sh/v1alpha1'
        await this.#delete({ apiVersion, kind: 'KWOKNodeClass', metadata: { name: SIMULATION } })
      }
      await this.#gone({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: SIMULATION } })
      const { items } = await this.#list(definitionKind.apiVersion, definitionKind.kind, INSTALLED_LABEL)
      for (const { metadata } of items) {
        const definition = { ...definitionKind, metadata: { name: metadata?.name ?? '' } }
        await this.#delete(definition)
        await this.#gone(definition)
      }
    })
  }

  #recordPod(type: string, pod: V1Pod): void {
    const uid = pod.metadata?.uid ?? ''
    const known = this.#pods.get(uid)
    if (known?.isBound) this.#bound--
    if (known?.isRunning) this.#running--
    if (type === 'DELETED' || pod.metadata?.deletionTimestamp !== undefined) {
      this.#pods.delete(uid)
      return
    }
    const now = { isBound: pod.spec?.nodeName !== undefined, isRunning: pod.status?.phase === 'Running' }
    this.#pods.set(uid, now)
    if (now.isBound) this.#bound++
    if (now.isRunning) this.#running++
  }

  /**
   * Watches objects from their present state on, and continues after interruptions.
   *
   * @param onReset called before all objects are reported again.
   */
  async #watch<T extends { metadata?: { resourceVersion?: string } }>(
    path: string,
    parameters: Record<string, string>,
    signal: AbortSignal,
    onEvent: (type: string, object: T) => void,
    onReset: () => void,
  ): Promise<void> {
    let resourceVersion: string | undefined
    while (!signal.aborted) {
      if (resourceVersion === undefined) onReset()
      await new Promise<void>((resolve) => {
        const watch = new Watch(this.#kubeConfig).watch(
          path,
          { ...parameters, resourceVersion, allowWatchBookmarks: true },
          (type, object: T) => {
            // The version is too old for the API server to continue.
            if (type === 'ERROR') resourceVersion = undefined
            else resourceVersion = object.metadata?.resourceVersion
            if (type !== 'ERROR' && type !== 'BOOKMARK') onEvent(type, object)
          },
          () => resolve(),
        )
        signal.addEventListener('abort', () => void watch.then((request) => request.abort()), { once: true })
      })
      // An API server that does not respond must not be asked without a pause.
      await sleep(200, undefined, { signal }).catch(() => undefined)
    }
  }

  /** Installs a definition, unless the cluster has it: Helm manages those of the platform stack. */
  async #installDefinition(definition: Manifest): Promise<void> {
    const name = definition.metadata?.name ?? ''
    const existing = await this.#definition(name)
    if (existing !== undefined && existing.metadata?.labels?.[INSTALLED_LABEL] === undefined) return
    const labels = { ...definition.metadata?.labels, [INSTALLED_LABEL]: 'true' }
    await this.#apply({ ...definition, metadata: { ...definition.metadata, name, labels } })
    while (!isTrue(await this.#definition(name), 'Established')) await sleep(200)
  }

  async #definition(name: string): Promise<Conditioned | undefined> {
    const header = { ...definitionKind, metadata: { name } }
    return unlessMissing(this.#objects.read<Conditioned>(header))
  }

  async #exists(definition: string): Promise<boolean> {
    return isTrue(await this.#definition(definition), 'Established')
  }

  async #apply(manifest: Manifest): Promise<void> {
    await this.#objects.patch(manifest, undefined, undefined, SIMULATION, true, PatchStrategy.ServerSideApply)
  }

  async #delete(object: Named): Promise<void> {
    await unlessMissing(this.#objects.delete(object, undefined, undefined, 0))
  }

  /** Waits until an object has disappeared. */
  async #gone(object: Named): Promise<void> {
    while ((await unlessMissing(this.#objects.read(object))) !== undefined) {
      if (object.kind === 'Namespace') await this.#deletePods()
      await sleep(500)
    }
  }

  /** Deletes pods without waiting for kwok, which may have ended. */
  async #deletePods(): Promise<void> {
    await unlessMissing(
      this.#core.deleteCollectionNamespacedPod({ namespace: SIMULATION, gracePeriodSeconds: 0 }),
    )
  }

  /** Deletes the simulation's objects of a kind, without waiting for the controllers that set finalizers. */
  async #removeAll(apiVersion: string, kind: string, deleteAll: () => Promise<unknown>): Promise<void> {
    for (;;) {
      await deleteAll()
      const { items } = await this.#list(apiVersion, kind, ofSimulation)
      if (items.length === 0) return
      const waiting = items.values()
      const worker = async () => {
        for (const { metadata } of waiting) {
          const finalizers: string[] = []
          await unlessMissing(
            this.#objects.patch(
              { apiVersion, kind, metadata: { name: metadata?.name ?? '', finalizers } },
              undefined,
              undefined,
              undefined,
              undefined,
              PatchStrategy.MergePatch,
            ),
          )
        }
      }
      await Promise.all(Array.from({ length: PARALLEL_REQUESTS }, worker))
    }
  }

  async #list(apiVersion: string, kind: string, labelSelector: string) {
    return this.#objects.list(
      apiVersion,
      kind,
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
      labelSelector,
    )
  }
}

/** Identifies an object. */
interface Named {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string }
}

/** An object whose status has conditions. */
interface Conditioned extends Manifest {
  status?: { conditions?: { type: string; status: string }[] }
}

function isTrue(object: Conditioned | undefined, condition: string): boolean {
  const conditions = object?.status?.conditions ?? []
  return conditions.some(({ type, status }) => type === condition && status === 'True')
}

/** The result of a request; undefined if the object does not exist. */
async function unlessMissing<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request
  } catch (error) {
    if (error instanceof ApiException && error.code === 404) return undefined
    throw error
  }
}

/** How often a request is repeated that got no answer. */
const ATTEMPTS = 5

/** Sends requests that may be repeated, and turns a failure into an ActionableError. */
async function answered<T>(requests: () => Promise<T>, attempt = 1): Promise<T> {
  try {
    return await requests()
  } catch (error) {
    if (!(error instanceof ApiException) && attempt < ATTEMPTS) {
      // A busy API server closes connections.
      await sleep(1_000)
      return answered(requests, attempt + 1)
    }
    const reason = error instanceof ApiException ? String(error.body) : rootCause(error)
    throw new ActionableError(
      `the box's API server did not accept a request of the simulation: ${reason}`,
      'see `make status`; the next `make simulate` removes what this one has left',
      { cause: error },
    )
  }
}
