/** The service's Helm release: its revisions, and diagnoses of its objects in the cluster. */
import { join } from 'node:path'
import { AppsV1Api, CoreV1Api, CustomObjectsApi, NetworkingV1Api, type V1Pod } from '@kubernetes/client-node'
import { type ClusterAccess, loadKubeConfig } from 'shared/cluster-access'
import { REPOSITORY_ROOT, SERVICE } from 'shared/environment'
import { type Diagnosis, diagnoseDeployments, diagnoseMigration } from './diagnosis.ts'
import { readExternalSecret } from './external-secret.ts'
import { HelmRelease } from './helm-release.ts'

/** The release's namespace. */
export const NAMESPACE = SERVICE

/** Directory of the release's chart. */
export const CHART = join(REPOSITORY_ROOT, 'helm', SERVICE)

const selector = `app.kubernetes.io/instance=${SERVICE}`
const migrationSelector = `app.kubernetes.io/name=${SERVICE}-migration,${selector}`

/** Default of how long a rollout may take, in seconds: a new node takes about 40 s, and each drained pod up to 40 s. */
export const ROLLOUT_TIMEOUT = 300

/** The warnings of the chart's notes in Helm's output. */
export function chartWarnings(output: string): string[] {
  return output.split('\n').filter((line) => line.startsWith('WARNING: '))
}

/** The service's Helm release in a cluster. */
export class Release extends HelmRelease {
  readonly core: CoreV1Api
  readonly apps: AppsV1Api
  readonly networking: NetworkingV1Api
  readonly customObjects: CustomObjectsApi

  constructor(helm: string, access: ClusterAccess, timeout = ROLLOUT_TIMEOUT) {
    super(helm, access, { name: SERVICE, namespace: NAMESPACE, timeout })
    const kubeConfig = loadKubeConfig(access)
    this.core = kubeConfig.makeApiClient(CoreV1Api)
    this.apps = kubeConfig.makeApiClient(AppsV1Api)
    this.networking = kubeConfig.makeApiClient(NetworkingV1Api)
    this.customObjects = kubeConfig.makeApiClient(CustomObjectsApi)
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
    return diagnoseDeployments(this, NAMESPACE, selector)
  }

  /** Adds the External Secrets operator's status, if an ExternalSecret of the release makes the missing Secret. */
  async #withExternalSecret({ missingSecret, ...diagnosis }: Diagnosis): Promise<Diagnosis> {
    if (missingSecret === undefined) return diagnosis
    // Both ExternalSecrets of the chart have the names of their Secrets.
    const externalSecret = await readExternalSecret(this.customObjects, NAMESPACE, missingSecret)
    if (externalSecret === undefined) return diagnosis
    const ready = externalSecret.status?.conditions?.find(({ type }) => type === 'Ready')
    const state =
      ready === undefined
        ? 'no operator has processed it'
        : `${ready.reason ?? ready.status}: ${ready.message}`
    return {
      ...diagnosis,
      missingSecret,
      message: `${diagnosis.message}; ExternalSecret ${missingSecret}: ${state}`,
    }
  }
}
