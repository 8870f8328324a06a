/** The service's Helm release, and the state of its objects in the cluster. */
import { existsSync } from 'node:fs'
import { ApiException, AppsV1Api, CoreV1Api, CustomObjectsApi, type V1Pod } from '@kubernetes/client-node'
import { programPath } from 'eks-box/tools'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { type ClusterAccess, loadKubeConfig } from 'shared/cluster-access'
import { SERVICE } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import {
  currentReplicaSet,
  type Diagnosis,
  diagnose,
  diagnoseMigration,
  diagnoseReplicaSet,
} from './diagnosis.ts'

/** The release's namespace. */
export const NAMESPACE = SERVICE
const namespace = NAMESPACE

const selector = `app.kubernetes.io/instance=${SERVICE}`
const migrationSelector = `app.kubernetes.io/name=${SERVICE}-migration,${selector}`

/** How long a rollout may take: Karpenter needs about 40 s for a node, and a pod up to 40 s to drain. In seconds. */
export const ROLLOUT_TIMEOUT = 300

/**
 * The Helm 4 to use: the one that `HELM` names, or the pinned one.
 *
 * @throws ActionableError when the pinned one is not built yet.
 */
export function helmProgram(box: BoxConfig, env: NodeJS.ProcessEnv): string {
  if (env['HELM']) return env['HELM']
  const program = programPath(box, 'helm')
  if (!existsSync(program)) {
    throw new ActionableError(
      'the pinned helm is not built yet',
      'build it with `make tools TOOL=helm`, or set HELM to a Helm 4 of your own',
    )
  }
  return program
}

/** A release as helm lists its revisions. */
export interface Revision {
  revision: number
  status: string
}

/** The revision to return to when the newest one is no good: the last that was fully rolled out. */
export function lastGood(history: readonly Revision[]): number | undefined {
  return history
    .filter(({ status }) => status === 'deployed' || status === 'superseded')
    .map(({ revision }) => revision)
    .sort((a, b) => b - a)[0]
}

/** The sentence in helm's output that names the cause; it is the last one it prints. */
export function helmCause(output: string): string {
  const schema = /values don't meet the specifications of the schema\(s\)[^:]*:\n(?:[^\n]*:\n)?(- .*)/s.exec(
    output,
  )
  if (schema?.[1] !== undefined) {
    const [first] = schema[1].split('\n').filter((line) => line.startsWith('- '))
    return `a value is not what the chart allows: ${first?.slice(2)}`
  }
  const last = output.trimEnd().split('\n').at(-1) ?? ''
  return last
    .replace(/^Error: (INSTALLATION FAILED: |UPGRADE FAILED: )?/, '')
    .replace(/^execution error at \([^)]*\): /, '')
}

/** What the chart's notes warn of, in helm's output. */
export function chartWarnings(output: string): string[] {
  return output.split('\n').filter((line) => line.startsWith('WARNING: '))
}

/** An ExternalSecret, as far as a deployment looks into it. */
interface ExternalSecret {
  spec?: { target?: { name?: string } }
  status?: { conditions?: { type: string; status: string; reason?: string; message?: string }[] }
}

/** The service's Helm release, and what Kubernetes knows of it. */
export class Release {
  readonly #helm: string
  readonly #access: string[]
  /** In seconds. */
  readonly rolloutTimeout: number
  readonly core: CoreV1Api
  readonly apps: AppsV1Api
  readonly #customObjects: CustomObjectsApi

  constructor(helm: string, access: ClusterAccess, rolloutTimeout = ROLLOUT_TIMEOUT) {
    this.#helm = helm
    this.rolloutTimeout = rolloutTimeout
    this.#access = [
      ...(access.from === 'box' ? ['--kubeconfig', access.kubeconfig] : ['--kube-context', access.context]),
      ...['--namespace', namespace],
    ]
    const kubeConfig = loadKubeConfig(access)
    this.core = kubeConfig.makeApiClient(CoreV1Api)
    this.apps = kubeConfig.makeApiClient(AppsV1Api)
    this.#customObjects = kubeConfig.makeApiClient(CustomObjectsApi)
  }

  helm(args: readonly string[], signal?: AbortSignal) {
    return execa(this.#helm, [...args, ...this.#access], {
      all: true,
      reject: false,
      ...(signal === undefined ? {} : { cancelSignal: signal }),
    })
  }

  /** The release's revisions, none when there is no release. Not to know is not the same as none: it throws. */
  async history(): Promise<Revision[]> {
    const { failed, stdout, all } = await this.helm(['history', SERVICE, '--output', 'json'])
    if (!failed) return JSON.parse(stdout) as Revision[]
    if (/release: not found/.test(all)) return []
    throw new ActionableError(
      `the release's history cannot be read: ${helmCause(all)}`,
      `once the cluster answers, see \`helm history ${SERVICE} --namespace ${namespace}\``,
    )
  }

  /** Returns to the last revision that was rolled out; a release that never was is removed. */
  async restore(): Promise<string> {
    const good = lastGood(await this.history())
    const undo =
      good === undefined
        ? ['uninstall', SERVICE, '--wait', '--ignore-not-found']
        : ['rollback', SERVICE, String(good), '--wait', '--timeout', `${this.rolloutTimeout}s`]
    const { failed, all } = await this.helm(undo)
    if (failed) {
      throw new ActionableError(
        `the former release could not be restored: ${helmCause(all)}`,
        `see \`helm history ${SERVICE} --namespace ${namespace}\` and \`kubectl get events --namespace ${namespace}\``,
      )
    }
    return good === undefined
      ? 'nothing was deployed before, so nothing is now'
      : `revision ${good} serves again`
  }

  async generation(): Promise<number | undefined> {
    const { items } = await this.apps.listNamespacedDeployment({ namespace, labelSelector: selector })
    return items[0]?.metadata?.generation
  }

  async migrationPods(): Promise<V1Pod[]> {
    const { items } = await this.core.listNamespacedPod({ namespace, labelSelector: migrationSelector })
    return items
  }

  /**
   * What keeps the migration from succeeding; after it, what keeps the newest template's pods from being ready,
   * the incurable first. Before it has succeeded, all pods are the former release's. `missingSecret` is set only
   * where an operator is to make that Secret.
   *
   * @param earlier names of the pods of earlier migrations.
   */
  async diagnoses(earlier: ReadonlySet<string>): Promise<Diagnosis[]> {
    return Promise.all((await this.#podDiagnoses(earlier)).map((diagnosis) => this.#withOperator(diagnosis)))
  }

  async #podDiagnoses(earlier: ReadonlySet<string>): Promise<Diagnosis[]> {
    const migration = diagnoseMigration(await this.migrationPods(), earlier)
    if (migration.pending) return migration.diagnosis === undefined ? [] : [migration.diagnosis]
    const { items: deployments } = await this.apps.listNamespacedDeployment({
      namespace,
      labelSelector: selector,
    })
    const { items: sets } = await this.apps.listNamespacedReplicaSet({ namespace, labelSelector: selector })
    const current = deployments[0] && currentReplicaSet(deployments[0], sets)
    if (current === undefined) return []
    const { items: pods } = await this.core.listNamespacedPod({
      namespace,
      labelSelector: `${selector},pod-template-hash=${current.metadata?.labels?.['pod-template-hash']}`,
    })
    return [diagnoseReplicaSet(current) ?? [], ...pods.map((pod) => diagnose(pod) ?? [])]
      .flat()
      .sort((a, b) => Number(b.final) - Number(a.final))
  }

  /** Adds what the External Secrets operator reports, where it is to make the Secret that a pod waits for. */
  async #withOperator({ missingSecret, ...diagnosis }: Diagnosis): Promise<Diagnosis> {
    if (missingSecret === undefined) return diagnosis
    const externalSecret = await this.#externalSecret()
    if (externalSecret?.spec?.target?.name !== missingSecret) return diagnosis
    const ready = externalSecret.status?.conditions?.find(({ type }) => type === 'Ready')
    const state =
      ready === undefined
        ? 'no operator has acted on it'
        : `${ready.reason ?? ready.status}: ${ready.message}`
    return {
      ...diagnosis,
      missingSecret,
      message: `${diagnosis.message}; ExternalSecret ${SERVICE}: ${state}`,
    }
  }

  /** The release's ExternalSecret; undefined when there is none, or the cluster does not know the kind. */
  async #externalSecret(): Promise<ExternalSecret | undefined> {
    try {
      return await this.#customObjects.getNamespacedCustomObject({
        group: 'external-secrets.io',
        version: 'v1',
        plural: 'externalsecrets',
        namespace,
        name: SERVICE,
      })
    } catch (failure) {
      if (failure instanceof ApiException && failure.code === 404) return undefined
      throw failure
    }
  }
}
