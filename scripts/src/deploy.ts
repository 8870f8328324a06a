/** `make deploy`: rolls the image out with the chart, says why a rollout fails, and rolls back. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiException, AppsV1Api, CoreV1Api, CustomObjectsApi, type V1Pod } from '@kubernetes/client-node'
import { type BoxConfig, readConfig } from 'eks-box/config'
import { ActionableError, reportFailure } from 'eks-box/errors'
import { execa } from 'execa'
import { provideConnectionSecret } from './connection-secret.ts'
import {
  confirmProduction,
  type Environment,
  helmProgram,
  type KubeAccess,
  kubeAccess,
  loadKubeConfig,
  REPOSITORY_ROOT,
  readEnvironment,
  SERVICE,
} from './environment.ts'
import { imageReference } from './image.ts'
import {
  currentReplicaSet,
  type Diagnosis,
  describeDiagnosis,
  diagnose,
  diagnoseMigration,
  diagnoseReplicaSet,
} from './workload.ts'

const namespace = SERVICE
const selector = `app.kubernetes.io/instance=${SERVICE}`
const migrationSelector = `app.kubernetes.io/name=${SERVICE}-migration,${selector}`
/** The Secret with the connection URLs, as values-local.yaml names it. */
const connectionSecret = { namespace, name: SERVICE }
const chart = join(REPOSITORY_ROOT, 'helm', SERVICE)

/** How long a rollout may take: a new node takes Karpenter about 40 s, a drained pod up to 40 s. In seconds. */
const rolloutTimeout = 300
/** How long a pod may be in a state that does not heal before the rollout is given up. In milliseconds. */
const patience = 20_000
/**
 * The same for a pod that waits for a Secret which an ExternalSecret is to make: the operator has to see the object
 * and to read the store. Below the chart's migration.timeoutSeconds (120 s): with the Job its pod goes, and with the
 * pod the reason. In milliseconds.
 */
const secretPatience = 100_000
const pollInterval = 1_000

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
  readonly core: CoreV1Api
  readonly apps: AppsV1Api
  readonly #customObjects: CustomObjectsApi

  constructor(helm: string, access: KubeAccess) {
    this.#helm = helm
    this.#access = [
      ...(access.kubeconfig === undefined ? [] : ['--kubeconfig', access.kubeconfig]),
      ...(access.context === undefined ? [] : ['--kube-context', access.context]),
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
        : ['rollback', SERVICE, String(good), '--wait', '--timeout', `${rolloutTimeout}s`]
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

/**
 * Makes the namespace with the Pod Security level the chart's pods meet, unless it is there. Being the first
 * request of a deployment, it also tells whether the cluster answers. It asks for this one namespace only,
 * which those may who are admins of nothing else.
 */
async function ensureNamespace(core: CoreV1Api): Promise<void> {
  const labels = {
    'pod-security.kubernetes.io/enforce': 'restricted',
    // A rollout goes on only when the load balancer sends requests to the new pods.
    'elbv2.k8s.aws/pod-readiness-gate-inject': 'enabled',
  }
  try {
    await core.readNamespace({ name: namespace })
  } catch (failure) {
    if (!(failure instanceof ApiException && failure.code === 404)) throw clusterFailure(failure)
    await core.createNamespace({ body: { metadata: { name: namespace, labels } } }).catch((refusal) => {
      throw clusterFailure(refusal)
    })
  }
}

/** Tells a cluster that refuses from one that is not there. */
function clusterFailure(cause: unknown): ActionableError {
  if (cause instanceof ApiException && cause.code === 401) {
    return new ActionableError(
      'the cluster does not accept your credentials',
      'renew them (for EKS, `aws sts get-caller-identity` shows whom you are), then run `make deploy` again',
      { cause },
    )
  }
  if (cause instanceof ApiException) {
    const said = /"message":("(?:[^"\\]|\\.)*")/.exec(String(cause.body))?.[1]
    return new ActionableError(
      `the cluster refuses: ${said === undefined ? `HTTP ${cause.code}` : JSON.parse(said)}`,
      `ask its administrators for the right to deploy to the namespace ${namespace}`,
      { cause },
    )
  }
  // fetch says only that it failed; why is in its cause.
  const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
  return new ActionableError(
    `the cluster does not answer: ${reason instanceof Error ? reason.message : String(reason)}`,
    'start the box with `make up`, or check KUBE_CONTEXT with `kubectl get nodes`',
    { cause },
  )
}

/** Watches a rollout; resolves when a part of it has failed for good for longer than `patience`. */
async function watchForFinalFailure(
  release: Release,
  earlier: ReadonlySet<string>,
  stop: AbortSignal,
): Promise<Diagnosis | undefined> {
  const since = new Map<string, number>()
  while (!stop.aborted) {
    await sleep(pollInterval, undefined, { signal: stop }).catch(() => {})
    // A request that fails tells nothing about the pods: the next one may.
    const diagnoses = stop.aborted ? undefined : await release.diagnoses(earlier).catch(() => undefined)
    if (diagnoses === undefined) continue
    for (const name of since.keys()) {
      if (!diagnoses.some((diagnosis) => diagnosis.name === name)) since.delete(name)
    }
    for (const diagnosis of diagnoses.filter(({ final }) => final)) {
      const first = since.get(diagnosis.name) ?? Date.now()
      since.set(diagnosis.name, first)
      if (Date.now() - first >= (diagnosis.missingSecret === undefined ? patience : secretPatience))
        return diagnosis
    }
  }
  return undefined
}

async function deploy(environment: Environment, box: BoxConfig): Promise<void> {
  confirmProduction(environment, { reviewed: process.env['CI'] === 'true' })
  const release = new Release(helmProgram(box, process.env), kubeAccess(environment, box, process.env))
  const extraValues = readExtraValues(process.env)
  const { repository, tag } = await imageReference(environment, box, process.env)
  await ensureNamespace(release.core)
  const connected = await provideConnectionSecret(environment, box, release.core, connectionSecret).catch(
    (failure: unknown) => {
      throw failure instanceof ActionableError ? failure : clusterFailure(failure)
    },
  )
  if (!connected) {
    console.log(
      `there is no Secret ${namespace}/${connectionSecret.name}, so the service runs without a database`,
    )
  }
  const since = Date.now()

  const history = await release.history()
  const newest = history.at(-1)
  if (newest?.status.startsWith('pending-') === true) {
    console.log(`an earlier deployment was interrupted (revision ${newest.revision} is ${newest.status})`)
    console.log(await release.restore())
  }
  const before = await release.generation()
  const warnings = await rollOut(release, environment, `${repository}:${tag}`, [
    ...(extraValues === undefined ? [] : ['--values', extraValues]),
    // Somebody who tries the service in a cluster of their own accepts this, and is warned.
    ...(connected ? [] : ['--set-string', 'secret.name=', '--set', 'database.acceptTaskLoss=true']),
  ])

  const seconds = ((Date.now() - since) / 1000).toFixed(1)
  const after = await release.generation()
  console.log(
    after === before
      ? `${repository}:${tag} is deployed already, no pod was replaced (${seconds} s)`
      : `deployed ${repository}:${tag} to ${environment.name} (${seconds} s)`,
  )
  for (const warning of warnings) console.warn(warning)
}

/**
 * The values file that `VALUES` names, which precedes the environment's.
 *
 * @throws ActionableError when there is no such file.
 */
export function readExtraValues(env: NodeJS.ProcessEnv): string | undefined {
  const file = env['VALUES']
  if (!file) return undefined
  const path = resolve(REPOSITORY_ROOT, file)
  if (existsSync(path)) return path
  throw new ActionableError(
    `VALUES is "${file}", which is no file`,
    'name a file with values of the chart, from the root of the repository',
  )
}

/** Installs or upgrades the release and returns what the chart warns of. */
async function rollOut(
  release: Release,
  environment: Environment,
  image: string,
  settings: readonly string[],
): Promise<string[]> {
  const [repository, tag] = [image.slice(0, image.lastIndexOf(':')), image.slice(image.lastIndexOf(':') + 1)]
  const left = await release.migrationPods().catch((failure: unknown) => {
    throw clusterFailure(failure)
  })
  const earlier = new Set(left.map(({ metadata }) => metadata?.name ?? ''))
  const giveUp = new AbortController()
  const done = new AbortController()
  const upgrade = release.helm(
    [
      ...['upgrade', SERVICE, chart, '--install'],
      ...['--values', environment.valuesFile],
      // As text: a tag of digits alone would become a number.
      ...['--set-string', `image.repository=${repository},image.tag=${tag}`],
      ...settings,
      ...['--wait', '--timeout', `${rolloutTimeout}s`],
    ],
    giveUp.signal,
  )
  const watching = watchForFinalFailure(release, earlier, done.signal).then((diagnosis) => {
    if (diagnosis !== undefined) giveUp.abort()
    return diagnosis
  })
  const interrupt = () => giveUp.abort()
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  const result = await upgrade
  done.abort()
  process.removeListener('SIGINT', interrupt).removeListener('SIGTERM', interrupt)
  const finalDiagnosis = await watching
  if (!result.failed) return chartWarnings(result.all)

  const worst = finalDiagnosis ?? (await release.diagnoses(earlier).catch(() => []))[0]
  if (worst !== undefined) console.error((await describeDiagnosis(release.core, namespace, worst)).join('\n'))
  const cause =
    worst === undefined
      ? helmCause(result.isCanceled ? 'the deployment was interrupted' : result.all)
      : summarize(worst)
  const failed = `${image} was not rolled out: ${cause}`
  const outcome = await undo(release, worst).catch((failure: unknown) => {
    if (!(failure instanceof ActionableError)) throw failure
    throw new ActionableError(`${failed}; ${failure.message}`, failure.nextStep, { cause: failure })
  })
  throw new ActionableError(`${failed}; ${outcome}`, nextStep(worst))
}

/**
 * Takes a failed rollout back; helm may have failed before it changed anything. After a migration that failed it
 * has noted a failed revision, but changed no object.
 */
async function undo(release: Release, worst: Diagnosis | undefined): Promise<string> {
  const history = await release.history()
  if (history.at(-1)?.status === 'deployed') return 'nothing was changed'
  const outcome = await release.restore()
  return worst?.kind === 'migration' && lastGood(history) !== undefined ? 'no pod was replaced' : outcome
}

/** The cause in a few words; the whole message stands above it. */
function summarize({ kind, name, reason, message }: Diagnosis): string {
  if (/ImagePull|InvalidImageName/.test(reason)) return 'the image cannot be pulled'
  const lines = message.trimEnd().split('\n')
  // What it said last is what ended it.
  if (kind === 'migration') return `the migration failed: ${lines.at(-1)}`
  return `${kind} ${name}: ${reason}, ${lines[0]}`
}

function nextStep(diagnosis: Diagnosis | undefined): string {
  if (diagnosis?.kind === 'migration' && diagnosis.reason === 'Crashed') {
    return 'fix the migration, or the database that its log above names, then run `make deploy` again'
  }
  switch (diagnosis?.reason) {
    case 'ErrImagePull':
    case 'ImagePullBackOff':
    case 'InvalidImageName':
      return 'push the image first with `make push`, or correct IMAGE_TAG'
    case 'OOMKilled':
      return "raise the memory limit in the environment's values file, or find what grew"
    case 'Unschedulable':
      return 'see `kubectl get nodes`: no node has room for the pod, or none matches its selector'
    case 'CreateContainerConfigError':
      if (diagnosis?.missingSecret === undefined) break
      return `see \`kubectl describe externalsecret ${SERVICE} --namespace ${namespace}\`, and that the External Secrets operator runs and may read the store`
    case undefined:
      return 'fix what helm names, then run `make deploy` again'
  }
  return 'fix what the events and log lines above show, then run `make deploy` again'
}

if (import.meta.main) {
  const run = async () => deploy(readEnvironment(process.env), readConfig(process.env))
  await run().catch(reportFailure)
}
