/** `make deploy`: rolls the image out with the chart, says why a rollout fails, and rolls back. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiException, type CoreV1Api } from '@kubernetes/client-node'
import {
  confirmProduction,
  type Environment,
  REPOSITORY_ROOT,
  readEnvironment,
  SERVICE,
} from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { imageReference } from '../image/image.ts'
import { provideConnectionSecret } from './connection-secret.ts'
import { type Diagnosis, describeDiagnosis } from './diagnosis.ts'
import {
  chartWarnings,
  helmCause,
  helmProgram,
  lastGood,
  NAMESPACE,
  Release,
  ROLLOUT_TIMEOUT,
} from './release.ts'

/** The Secret with the connection URLs, as values-local.yaml names it. */
const connectionSecret = { namespace: NAMESPACE, name: SERVICE }
const chart = join(REPOSITORY_ROOT, 'helm', SERVICE)

/** How long a pod may be in a state that does not heal before the rollout is given up. In milliseconds. */
const patience = 20_000
/**
 * The same for a pod that waits for a Secret which an ExternalSecret is to make: the operator has to see the object
 * and to read the store. Below the chart's migration.timeoutSeconds (120 s): with the Job its pod goes, and with the
 * pod the reason. In milliseconds.
 */
const secretPatience = 100_000
const pollInterval = 1_000

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
    await core.readNamespace({ name: NAMESPACE })
  } catch (failure) {
    if (!(failure instanceof ApiException && failure.code === 404)) throw clusterFailure(failure)
    await core.createNamespace({ body: { metadata: { name: NAMESPACE, labels } } }).catch((refusal) => {
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
      `ask its administrators for the right to deploy to the namespace ${NAMESPACE}`,
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

/** What to deploy, and where: everything that the caller's environment decides. */
interface Deployment {
  environment: Environment
  release: Release
  image: { repository: string; tag: string }
  /** A file with values that precede the environment's. */
  extraValues: string | undefined
}

/** @throws ActionableError when something that a deployment needs is missing. */
async function readDeployment(env: NodeJS.ProcessEnv): Promise<Deployment> {
  const environment = readEnvironment(env)
  confirmProduction(environment, env, { reviewed: env['CI'] === 'true' })
  return {
    environment,
    release: new Release(helmProgram(environment.box, env), environment.access, readRolloutTimeout(env)),
    extraValues: readExtraValues(env),
    image: await imageReference(environment, env),
  }
}

async function deploy({ environment, release, image, extraValues }: Deployment): Promise<void> {
  await ensureNamespace(release.core)
  const connected = await provideConnectionSecret(environment, release.core, connectionSecret).catch(
    (failure: unknown) => {
      throw failure instanceof ActionableError ? failure : clusterFailure(failure)
    },
  )
  if (!connected) {
    console.log(
      `there is no Secret ${NAMESPACE}/${connectionSecret.name}, so the service runs without a database`,
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
  const warnings = await rollOut(release, environment, image, [
    ...(extraValues === undefined ? [] : ['--values', extraValues]),
    // Somebody who tries the service in a cluster of their own accepts this, and is warned.
    ...(connected ? [] : ['--set-string', 'secret.name=', '--set', 'database.acceptTaskLoss=true']),
  ])

  const seconds = ((Date.now() - since) / 1000).toFixed(1)
  const after = await release.generation()
  const reference = `${image.repository}:${image.tag}`
  console.log(
    after === before
      ? `${reference} is deployed already, no pod was replaced (${seconds} s)`
      : `deployed ${reference} to ${environment.name} (${seconds} s)`,
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

/**
 * How long the rollout may take, in seconds: `ROLLOUT_TIMEOUT_SECONDS`, for machines that are slow.
 *
 * @throws ActionableError when it is not a number of seconds.
 */
export function readRolloutTimeout(env: NodeJS.ProcessEnv): number {
  const text = env['ROLLOUT_TIMEOUT_SECONDS']
  if (!text) return ROLLOUT_TIMEOUT
  if (/^[1-9]\d{0,4}$/.test(text)) return Number(text)
  throw new ActionableError(
    `ROLLOUT_TIMEOUT_SECONDS is "${text}", which is not a number of seconds`,
    `use a whole number from 1 to 99999; the default is ${ROLLOUT_TIMEOUT}`,
  )
}

/** Installs or upgrades the release and returns what the chart warns of. */
async function rollOut(
  release: Release,
  environment: Environment,
  { repository, tag }: Deployment['image'],
  settings: readonly string[],
): Promise<string[]> {
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
      ...['--wait', '--timeout', `${release.rolloutTimeout}s`],
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
  if (worst !== undefined) console.error((await describeDiagnosis(release.core, NAMESPACE, worst)).join('\n'))
  const cause =
    worst === undefined
      ? helmCause(result.isCanceled ? 'the deployment was interrupted' : result.all)
      : summarize(worst)
  const failed = `${repository}:${tag} was not rolled out: ${cause}`
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
      return `see \`kubectl describe externalsecret ${SERVICE} --namespace ${NAMESPACE}\`, and that the External Secrets operator runs and may read the store`
    case undefined:
      return 'fix what helm names, then run `make deploy` again'
  }
  return 'fix what the events and log lines above show, then run `make deploy` again'
}

if (import.meta.main) {
  await readDeployment(process.env).then(deploy).catch(reportFailure)
}
