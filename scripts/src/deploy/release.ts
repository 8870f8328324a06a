/** The service's Helm release: its revisions, and diagnoses of its objects in the cluster. */
import { existsSync } from 'node:fs'
import { ApiException, AppsV1Api, CoreV1Api, CustomObjectsApi, type V1Pod } from '@kubernetes/client-node'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { type ClusterAccess, loadKubeConfig } from 'shared/cluster-access'
import { SERVICE } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { programPath } from 'shared/tools'
import {
  currentReplicaSet,
  type Diagnosis,
  diagnoseMigration,
  diagnosePod,
  diagnoseReplicaSet,
} from './diagnosis.ts'

/** The release's namespace. */
export const NAMESPACE = SERVICE

const selector = `app.kubernetes.io/instance=${SERVICE}`
const migrationSelector = `app.kubernetes.io/name=${SERVICE}-migration,${selector}`

/** Default of how long a rollout may take, in seconds: a new node takes about 40 s, and each drained pod up to 40 s. */
export const ROLLOUT_TIMEOUT = 300

/**
 * The Helm 4 to use: `HELM`, or the pinned one.
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

/** A revision as `helm history` lists it. */
export interface Revision {
  revision: number
  status: string
}

/** The newest revision that was fully rolled out: the one to roll back to. */
export function lastDeployed(history: readonly Revision[]): number | undefined {
  return history
    .filter(({ status }) => status === 'deployed' || status === 'superseded')
    .map(({ revision }) => revision)
    .sort((a, b) => b - a)[0]
}

/** The cause of a failure in Helm's output: the first schema violation, or the last line. */
export function helmCause(output: string): string {
  const schema = /values don't meet the specifications of the schema\(s\)[^:]*:\n(?:[^\n]*:\n)?(- .*)/s.exec(
    output,
  )
  if (schema?.[1] !== undefined) {
    const [first] = schema[1].split('\n').filter((line) => line.startsWith('- '))
    return `the chart does not allow a value: ${first?.slice(2)}`
  }
  const last = output.trimEnd().split('\n').at(-1) ?? ''
  return last
    .replace(/^Error: (INSTALLATION FAILED: |UPGRADE FAILED: )?/, '')
    .replace(/^execution error at \([^)]*\): /, '')
}

/** The warnings of the chart's notes in Helm's output. */
export function chartWarnings(output: string): string[] {
  return output.split('\n').filter((line) => line.startsWith('WARNING: '))
}

/** The parts of an ExternalSecret that matter to a deployment. */
interface ExternalSecret {
  spec?: { target?: { name?: string } }
  status?: { conditions?: { type: string; status: string; reason?: string; message?: string }[] }
}

/** The service's Helm release in a cluster. */
export class Release {
  readonly #helm: string
  readonly #access: string[]
  /** How long a rollout or a rollback may take, in seconds. */
  readonly rolloutTimeout: number
  readonly core: CoreV1Api
  readonly apps: AppsV1Api
  readonly #customObjects: CustomObjectsApi

  constructor(helm: string, access: ClusterAccess, rolloutTimeout = ROLLOUT_TIMEOUT) {
    this.#helm = helm
    this.rolloutTimeout = rolloutTimeout
    this.#access = [
      ...(access.from === 'box' ? ['--kubeconfig', access.kubeconfig] : ['--kube-context', access.context]),
      ...['--namespace', NAMESPACE],
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

  /**
   * The release's revisions; empty when there is no release.
   *
   * @throws ActionableError when they cannot be read, so that `restore` never uninstalls a release by mistake
   */
  async history(): Promise<Revision[]> {
    const { failed, stdout, all } = await this.helm(['history', SERVICE, '--output', 'json'])
    if (!failed) return JSON.parse(stdout) as Revision[]
    if (/release: not found/.test(all)) return []
    throw new ActionableError(
      `the release's history cannot be read: ${helmCause(all)}`,
      `once the cluster answers, see \`helm history ${SERVICE} --namespace ${NAMESPACE}\``,
    )
  }

  /** Rolls back to the last deployed revision, or uninstalls a release that never was deployed. */
  async restore(): Promise<string> {
    const revision = lastDeployed(await this.history())
    const command =
      revision === undefined
        ? ['uninstall', SERVICE, '--wait', '--ignore-not-found']
        : ['rollback', SERVICE, String(revision), '--wait', '--timeout', `${this.rolloutTimeout}s`]
    const { failed, all } = await this.helm(command)
    if (failed) {
      throw new ActionableError(
        `the previous revision could not be restored: ${helmCause(all)}`,
        `see \`helm history ${SERVICE} --namespace ${NAMESPACE}\` and \`kubectl get events --namespace ${NAMESPACE}\``,
      )
    }
    return revision === undefined
      ? 'nothing was deployed before, so the release was uninstalled'
      : `rolled back to revision ${revision}`
  }

  /** The generation of the Deployment, which changes with its specification. */
  async generation(): Promise<number | undefined> {
    const { items } = await this.apps.listNamespacedDeployment({
      namespace: NAMESPACE,
      labelSelector: selector,
    })
    return items[0]?.metadata?.generation
  }

  async migrationPods(): Promise<V1Pod[]> {
    const { items } = await this.core.listNamespacedPod({
      namespace: NAMESPACE,
      labelSelector: migrationSelector,
    })
    return items
  }

  /**
   * Diagnoses the migration until it has succeeded, because until then all other pods belong to the previous revision;
   * then the pods of the Deployment's current template, permanent failures first. `missingSecret` is set only if an
   * operator should create that Secret.
   *
   * @param earlierMigrationPods - names of the pods of earlier migrations
   */
  async diagnoses(earlierMigrationPods: ReadonlySet<string>): Promise<Diagnosis[]> {
    const diagnoses = await this.#podDiagnoses(earlierMigrationPods)
    return Promise.all(diagnoses.map((diagnosis) => this.#withExternalSecret(diagnosis)))
  }

  async #podDiagnoses(earlierMigrationPods: ReadonlySet<string>): Promise<Diagnosis[]> {
    const migration = diagnoseMigration(await this.migrationPods(), earlierMigrationPods)
    if (migration.pending) return migration.diagnosis === undefined ? [] : [migration.diagnosis]
    const { items: deployments } = await this.apps.listNamespacedDeployment({
      namespace: NAMESPACE,
      labelSelector: selector,
    })
    const { items: sets } = await this.apps.listNamespacedReplicaSet({
      namespace: NAMESPACE,
      labelSelector: selector,
    })
    const current = deployments[0] && currentReplicaSet(deployments[0], sets)
    if (current === undefined) return []
    const { items: pods } = await this.core.listNamespacedPod({
      namespace: NAMESPACE,
      labelSelector: `${selector},pod-template-hash=${current.metadata?.labels?.['pod-template-hash']}`,
    })
    return [diagnoseReplicaSet(current) ?? [], ...pods.map((pod) => diagnosePod(pod) ?? [])]
      .flat()
      .sort((a, b) => Number(b.permanent) - Number(a.permanent))
  }

  /** Adds the External Secrets operator's status, if the missing Secret is that of the release's ExternalSecret. */
  async #withExternalSecret({ missingSecret, ...diagnosis }: Diagnosis): Promise<Diagnosis> {
    if (missingSecret === undefined) return diagnosis
    const externalSecret = await this.#externalSecret()
    if (externalSecret?.spec?.target?.name !== missingSecret) return diagnosis
    const ready = externalSecret.status?.conditions?.find(({ type }) => type === 'Ready')
    const state =
      ready === undefined
        ? 'no operator has processed it'
        : `${ready.reason ?? ready.status}: ${ready.message}`
    return {
      ...diagnosis,
      missingSecret,
      message: `${diagnosis.message}; ExternalSecret ${SERVICE}: ${state}`,
    }
  }

  /** The release's ExternalSecret; undefined when there is none, or the cluster lacks the kind. */
  async #externalSecret(): Promise<ExternalSecret | undefined> {
    try {
      return await this.#customObjects.getNamespacedCustomObject({
        group: 'external-secrets.io',
        version: 'v1',
        plural: 'externalsecrets',
        namespace: NAMESPACE,
        name: SERVICE,
      })
    } catch (failure) {
      if (failure instanceof ApiException && failure.code === 404) return undefined
      throw failure
    }
  }
}
