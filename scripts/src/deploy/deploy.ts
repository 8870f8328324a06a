/** `make deploy`: rolls out the image with the Helm chart; diagnoses a failed rollout and rolls it back. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { ApiException, type CoreV1Api, PatchStrategy, setHeaderOptions } from '@kubernetes/client-node'
import {
  confirmProduction,
  type Environment,
  REPOSITORY_ROOT,
  readEnvironment,
  SERVICE,
} from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { imageReference } from '../image/image.ts'
import { stackOutputs } from '../infrastructure/state.ts'
import { AUTHORITIES, authorities, type DataOutputs, databaseValues, dataOf } from './database.ts'
import {
  type Diagnosis,
  describeDiagnosis,
  summarizeDiagnosis,
  watchForPermanentFailure,
} from './diagnosis.ts'
import { type Edge, edgeOf, missingStep } from './edge.ts'
import { findExternalSecret, synchronize } from './external-secret.ts'
import { helmCause, helmProgram, lastDeployed } from './helm-release.ts'
import { awaitLoadBalancer, loadBalancerName } from './load-balancer.ts'
import { CHART, chartWarnings, NAMESPACE, Release, ROLLOUT_TIMEOUT } from './release.ts'

/** How long the operator may take to read the service's secret, in seconds. */
const SECRET_TIMEOUT = 60

/**
 * Creates the namespace, with the Pod Security level that the chart's pods meet, unless it exists. As the first request
 * of a deployment it also checks access to the cluster. It reads only this namespace, because the deployer may not be
 * allowed to list namespaces.
 */
async function ensureNamespace(core: CoreV1Api): Promise<void> {
  const labels = {
    'pod-security.kubernetes.io/enforce': 'restricted',
    // A new pod counts as ready only once the load balancer sends requests to it.
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

/** Explains a failed request: rejected credentials, missing permissions, or no answer from the cluster. */
function clusterFailure(cause: unknown): ActionableError {
  if (cause instanceof ApiException && cause.code === 401) {
    return new ActionableError(
      'the cluster does not accept your credentials',
      'renew them (for EKS, `aws sts get-caller-identity` shows who you are), then run `make deploy` again',
      { cause },
    )
  }
  if (cause instanceof ApiException) {
    const message = /"message":("(?:[^"\\]|\\.)*")/.exec(String(cause.body))?.[1]
    return new ActionableError(
      `the cluster refuses the request: ${message === undefined ? `HTTP ${cause.code}` : JSON.parse(message)}`,
      `ask its administrators for permission to deploy to the namespace ${NAMESPACE}`,
      { cause },
    )
  }
  // The message of fetch is only "fetch failed".
  const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
  return new ActionableError(
    `the cluster does not answer: ${reason instanceof Error ? reason.message : String(reason)}`,
    'start the box with `make up`, or check KUBE_CONTEXT with `kubectl get nodes`',
    { cause },
  )
}

/** What to deploy and where, from the environment variables. */
interface Deployment {
  environment: Environment
  release: Release
  image: { repository: string; tag: string }
  /** What the stacks data and edge provide; undefined if they are not applied. */
  data: DataOutputs | undefined
  edge: Edge | undefined
  /** A further values file, which overrides the environment's. */
  extraValues: string | undefined
}

/** @throws ActionableError when something is missing that a deployment needs. */
async function readDeployment(env: NodeJS.ProcessEnv): Promise<Deployment> {
  const environment = readEnvironment(env)
  // In CI, the approval of the GitHub environment is the review.
  confirmProduction(environment, { reviewed: environment.isCi })
  return {
    environment,
    release: new Release(helmProgram(environment.box, env), environment.access, readRolloutTimeout(env)),
    extraValues: readExtraValues(env),
    image: await imageReference(environment, env),
    ...(await readStacks(environment)),
  }
}

async function readStacks(environment: Environment): Promise<Pick<Deployment, 'data' | 'edge'>> {
  // A local cluster other than the box has no stacks.
  if (environment.name === 'local' && !environment.usesBox) return { data: undefined, edge: undefined }
  const { data, edge } = await stackOutputs(environment, 'data', 'edge')
  return { data: dataOf(data), edge: edgeOf(edge) }
}

async function deploy(deployment: Deployment): Promise<void> {
  const { environment, release, image, data, edge, extraValues } = deployment
  await ensureNamespace(release.core)
  const database = await databaseArguments(environment, release.core, data)
  const chart: ChartArguments = {
    options: [
      ...['--values', environment.valuesFile],
      // As strings, because --set would turn a tag of digits into a number.
      ...['--set-string', `image.repository=${image.repository},image.tag=${image.tag}`],
      // The box knows these kinds, and `make monitoring` reads them. Other local clusters may not.
      ...(environment.usesBox ? ['--set', 'serviceMonitor.enabled=true,prometheusRule.enabled=true'] : []),
      ...database.options,
      ...(edge?.settings ?? []),
      ...(extraValues === undefined ? [] : ['--values', extraValues]),
    ],
    input: database.input,
  }
  const since = Date.now()

  const history = await release.history()
  const newest = history.at(-1)
  if (newest?.status.startsWith('pending-') === true) {
    console.log(`an earlier deployment was interrupted (revision ${newest.revision} is ${newest.status})`)
    console.log(await release.restore())
  }
  const generationBefore = await release.generation()
  await synchronizeSecret(release, chart)
  const warnings = await rollOut(release, image, chart)

  const seconds = ((Date.now() - since) / 1000).toFixed(1)
  const generationAfter = await release.generation()
  const reference = `${image.repository}:${image.tag}`
  console.log(
    generationAfter === generationBefore
      ? `${reference} is already deployed; no pod was replaced (${seconds} s)`
      : `deployed ${reference} to ${environment.name} (${seconds} s)`,
  )
  const url = await serviceUrl(release, environment, edge)
  if (url !== undefined) console.log(`${SERVICE} is served at ${url}`)
  for (const warning of warnings) console.warn(warning)
  if (edge === undefined) return
  const missing = missingStep(edge, await loadBalancerName(release.networking, NAMESPACE), environment.name)
  if (missing !== undefined) console.warn(missing)
}

/** Helm's options with the chart's values, and the values for its standard input. */
interface ChartArguments {
  options: readonly string[]
  input: string
}

/**
 * Puts the authorities of the data stack's database into the cluster. Without the stack, the environment's values name the
 * Secret, which the user creates. Locally, the service does without a database if there is none.
 */
async function databaseArguments(
  environment: Environment,
  core: CoreV1Api,
  data: DataOutputs | undefined,
): Promise<ChartArguments> {
  if (data !== undefined) {
    await applyAuthorities(core, await authorities(environment)).catch((failure: unknown) => {
      throw clusterFailure(failure)
    })
    return { options: ['--values', '-'], input: JSON.stringify(databaseValues(data, environment)) }
  }
  if (environment.name !== 'local' || (await hasSecret(core, SERVICE))) return { options: [], input: '' }
  console.log(
    `there is neither a data stack nor a Secret ${NAMESPACE}/${SERVICE}, so the service runs without a database`,
  )
  // Acceptable where somebody tries out the service in a cluster of their own; the chart prints a warning.
  return {
    options: ['--set-string', 'secret.name=', '--set', 'database.acceptTaskLoss=true'],
    input: '',
  }
}

async function hasSecret(core: CoreV1Api, name: string): Promise<boolean> {
  try {
    await core.readNamespacedSecret({ namespace: NAMESPACE, name })
    return true
  } catch (failure) {
    if (failure instanceof ApiException && failure.code === 404) return false
    throw clusterFailure(failure)
  }
}

async function applyAuthorities(core: CoreV1Api, pem: string): Promise<void> {
  const { configMap: name, key } = AUTHORITIES
  await core.patchNamespacedConfigMap(
    {
      namespace: NAMESPACE,
      name,
      body: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { namespace: NAMESPACE, name },
        data: { [key]: pem },
      },
      fieldManager: 'deploy',
      force: true,
    },
    setHeaderOptions('Content-Type', PatchStrategy.ServerSideApply),
  )
}

/**
 * Brings the service's Secret up to date before Helm renders the chart. Then the pods are replaced exactly if their
 * credentials have changed, because the chart compares the Secret's content.
 */
async function synchronizeSecret(release: Release, { options, input }: ChartArguments): Promise<void> {
  const rendered = await release.helm(
    ['template', SERVICE, CHART, ...options, '--show-only', 'templates/externalsecret.yaml'],
    { input },
  )
  // Helm fails if the template is empty. If the values are wrong, the rollout reports it.
  const secret = rendered.failed ? undefined : findExternalSecret(rendered.stdout, SERVICE)
  if (secret === undefined) return
  await synchronize(release.customObjects, NAMESPACE, secret, SECRET_TIMEOUT).catch((failure: unknown) => {
    throw failure instanceof ActionableError ? failure : clusterFailure(failure)
  })
}

/**
 * The service's URL: of its domain, of the load balancer, or for the box, the URL on this machine that leads to it.
 *
 * @throws ActionableError when the box's load balancer is not ready in time
 */
async function serviceUrl(
  release: Release,
  environment: Environment,
  edge: Edge | undefined,
): Promise<string | undefined> {
  if (edge !== undefined) return `https://${edge.host}`
  if (environment.usesBox) {
    const url = `http://127.0.0.1:${environment.box.ports.service}`
    await awaitLoadBalancer(release.networking, NAMESPACE, url, release.timeout)
    return url
  }
  const name = await loadBalancerName(release.networking, NAMESPACE)
  return name === undefined ? undefined : `http://${name}`
}

/**
 * The values file that `VALUES` names. It overrides the environment's.
 *
 * @throws ActionableError when there is no such file.
 */
export function readExtraValues(env: NodeJS.ProcessEnv): string | undefined {
  const file = env['VALUES']
  if (!file) return undefined
  const path = resolve(REPOSITORY_ROOT, file)
  if (existsSync(path)) return path
  throw new ActionableError(
    `VALUES is "${file}", but there is no such file`,
    'set it to the path of a values file, relative to the root of the repository',
  )
}

/**
 * The timeout of the rollout in seconds: `ROLLOUT_TIMEOUT_SECONDS`, which slow machines may need.
 *
 * @throws ActionableError when the variable is not a number of seconds.
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

/** Installs or upgrades the release and returns the chart's warnings. */
async function rollOut(
  release: Release,
  { repository, tag }: Deployment['image'],
  { options, input }: ChartArguments,
): Promise<string[]> {
  const existingPods = await release.migrationPods().catch((failure: unknown) => {
    throw clusterFailure(failure)
  })
  const earlierMigrationPods = new Set(existingPods.map(({ metadata }) => metadata?.name ?? ''))
  const upgradeAbort = new AbortController()
  const watchAbort = new AbortController()
  const upgrade = release.helm(
    [
      ...['upgrade', SERVICE, CHART, '--install'],
      ...options,
      ...['--wait', '--timeout', `${release.timeout}s`],
    ],
    { signal: upgradeAbort.signal, input },
  )
  const watching = watchForPermanentFailure(
    () => release.diagnoses(earlierMigrationPods),
    watchAbort.signal,
  ).then((diagnosis) => {
    if (diagnosis !== undefined) upgradeAbort.abort()
    return diagnosis
  })
  const interrupt = () => upgradeAbort.abort()
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  const result = await upgrade
  watchAbort.abort()
  process.removeListener('SIGINT', interrupt).removeListener('SIGTERM', interrupt)
  const permanentFailure = await watching
  if (!result.failed) return chartWarnings(result.all)

  const diagnosis = permanentFailure ?? (await release.diagnoses(earlierMigrationPods).catch(() => []))[0]
  if (diagnosis !== undefined) {
    console.error((await describeDiagnosis(release.core, NAMESPACE, diagnosis)).join('\n'))
  }
  const cause =
    diagnosis === undefined
      ? helmCause(result.isCanceled ? 'the deployment was interrupted' : result.all)
      : summarizeDiagnosis(diagnosis)
  const message = `${repository}:${tag} was not rolled out: ${cause}`
  const outcome = await rollBack(release, diagnosis).catch((failure: unknown) => {
    if (!(failure instanceof ActionableError)) throw failure
    throw new ActionableError(`${message}; ${failure.message}`, failure.nextStep, { cause: failure })
  })
  throw new ActionableError(`${message}; ${outcome}`, nextStep(diagnosis))
}

/** Rolls back a failed rollout, unless Helm failed before it created a revision. */
async function rollBack(release: Release, diagnosis: Diagnosis | undefined): Promise<string> {
  const history = await release.history()
  if (history.at(-1)?.status === 'deployed') return 'nothing was changed'
  const outcome = await release.restore()
  // The migration runs before Helm changes any object.
  if (diagnosis?.kind === 'migration' && lastDeployed(history) !== undefined) return 'no pod was replaced'
  return outcome
}

function nextStep(diagnosis: Diagnosis | undefined): string {
  if (diagnosis?.kind === 'migration' && diagnosis.reason === 'Crashed') {
    return 'fix the migration, or the database that its log above names, then run `make deploy` again'
  }
  switch (diagnosis?.reason) {
    case 'ErrImagePull':
    case 'ImagePullBackOff':
    case 'InvalidImageName':
      return 'push the image with `make push`, or correct IMAGE_TAG'
    case 'OOMKilled':
      return "raise the memory limit in the environment's values file, or find out why its memory use grew"
    case 'Unschedulable':
      return 'see `kubectl get nodes`: no node has enough free resources, or none matches the node selector'
    case 'CreateContainerConfigError':
      if (diagnosis?.missingSecret === undefined) break
      return `see \`kubectl describe externalsecret ${diagnosis.missingSecret} --namespace ${NAMESPACE}\`, and check that the External Secrets operator runs and may read the store`
    case undefined:
      return 'fix what Helm reports, then run `make deploy` again'
  }
  return 'fix the cause that the events and log lines above show, then run `make deploy` again'
}

if (import.meta.main) {
  await readDeployment(process.env).then(deploy).catch(reportFailure)
}
