/** `make deploy`: rolls the image out with the chart, says why a rollout fails, and rolls back. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AppsV1Api, CoreV1Api, KubeConfig } from '@kubernetes/client-node'
import { type BoxConfig, readConfig } from 'eks-box/config'
import { ActionableError, reportFailure } from 'eks-box/errors'
import { execa } from 'execa'
import {
  type Environment,
  helmProgram,
  type KubeAccess,
  kubeAccess,
  REPOSITORY_ROOT,
  readEnvironment,
  SERVICE,
} from './environment.ts'
import { imageReference } from './image.ts'
import { type Ailment, describeAilment, diagnose } from './workload.ts'

const namespace = SERVICE
const selector = `app.kubernetes.io/instance=${SERVICE}`
const chart = join(REPOSITORY_ROOT, 'helm', SERVICE)

/** How long a rollout may take: a new node takes Karpenter about 40 s, a drained pod up to 40 s. In seconds. */
const rolloutTimeout = 300
/** How long a pod may be in a state that does not heal before the rollout is given up. In milliseconds. */
const patience = 20_000
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
  return last.replace(/^Error: (INSTALLATION FAILED: |UPGRADE FAILED: )?/, '')
}

class Release {
  readonly #helm: string
  readonly #access: string[]
  readonly core: CoreV1Api
  readonly apps: AppsV1Api

  constructor(helm: string, access: KubeAccess) {
    this.#helm = helm
    this.#access = [
      ...(access.kubeconfig === undefined ? [] : ['--kubeconfig', access.kubeconfig]),
      ...(access.context === undefined ? [] : ['--kube-context', access.context]),
      ...['--namespace', namespace],
    ]
    const kubeConfig = new KubeConfig()
    if (access.kubeconfig === undefined) kubeConfig.loadFromDefault()
    else kubeConfig.loadFromFile(access.kubeconfig)
    if (access.context !== undefined) kubeConfig.setCurrentContext(access.context)
    this.core = kubeConfig.makeApiClient(CoreV1Api)
    this.apps = kubeConfig.makeApiClient(AppsV1Api)
  }

  helm(args: readonly string[], signal?: AbortSignal) {
    return execa(this.#helm, [...args, ...this.#access], {
      all: true,
      reject: false,
      ...(signal === undefined ? {} : { cancelSignal: signal }),
    })
  }

  async history(): Promise<Revision[]> {
    const { failed, stdout } = await this.helm(['history', SERVICE, '--output', 'json'])
    return failed ? [] : (JSON.parse(stdout) as Revision[])
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

  async ailments(): Promise<Ailment[]> {
    const { items } = await this.core.listNamespacedPod({ namespace, labelSelector: selector })
    return items.flatMap((pod) => diagnose(pod) ?? [])
  }
}

/** Makes the namespace with the Pod Security level the chart's pods meet; keeps what others added to it. */
async function ensureNamespace(core: CoreV1Api): Promise<void> {
  const labels = {
    'kubernetes.io/metadata.name': namespace,
    'pod-security.kubernetes.io/enforce': 'restricted',
  }
  const { items } = await core.listNamespace({ fieldSelector: `metadata.name=${namespace}` })
  if (items.length === 0) await core.createNamespace({ body: { metadata: { name: namespace, labels } } })
}

/** Watches the pods of a rollout; resolves when one has been beyond help for longer than `patience`. */
async function hopeless(release: Release, stop: AbortSignal): Promise<Ailment | undefined> {
  const since = new Map<string, number>()
  while (!stop.aborted) {
    await sleep(pollInterval, undefined, { signal: stop }).catch(() => {})
    const ailments = stop.aborted ? [] : await release.ailments().catch(() => [])
    for (const ailment of ailments.filter(({ final }) => final)) {
      const first = since.get(ailment.pod) ?? Date.now()
      since.set(ailment.pod, first)
      if (Date.now() - first >= patience) return ailment
    }
  }
  return undefined
}

async function deploy(environment: Environment, box: BoxConfig): Promise<void> {
  confirmProduction(environment)
  const release = new Release(helmProgram(box, process.env), kubeAccess(environment, box, process.env))
  const { repository, tag } = await imageReference(environment, box, process.env)
  await reachable(release)
  const since = Date.now()

  const history = await release.history()
  const newest = history.at(-1)
  if (newest?.status.startsWith('pending-') === true) {
    console.log(`an earlier deployment was interrupted (revision ${newest.revision} is ${newest.status})`)
    console.log(await release.restore())
  }
  await ensureNamespace(release.core)
  const before = await release.generation()
  await rollOut(release, environment, `${repository}:${tag}`)

  const seconds = ((Date.now() - since) / 1000).toFixed(1)
  const after = await release.generation()
  console.log(
    after === before
      ? `${repository}:${tag} is deployed already, no pod was replaced (${seconds} s)`
      : `deployed ${repository}:${tag} to ${environment.name} (${seconds} s)`,
  )
}

async function rollOut(release: Release, environment: Environment, image: string): Promise<void> {
  const [repository, tag] = [image.slice(0, image.lastIndexOf(':')), image.slice(image.lastIndexOf(':') + 1)]
  const giveUp = new AbortController()
  const done = new AbortController()
  const upgrade = release.helm(
    [
      ...['upgrade', SERVICE, chart, '--install'],
      ...['--values', environment.valuesFile],
      // As text: a tag of digits alone would become a number.
      ...['--set-string', `image.repository=${repository},image.tag=${tag}`],
      ...['--wait', '--timeout', `${rolloutTimeout}s`],
    ],
    giveUp.signal,
  )
  const watching = hopeless(release, done.signal).then((ailment) => {
    if (ailment !== undefined) giveUp.abort()
    return ailment
  })
  const interrupt = () => giveUp.abort()
  process.once('SIGINT', interrupt)
  const result = await upgrade
  done.abort()
  process.removeListener('SIGINT', interrupt)
  const beyondHelp = await watching
  if (!result.failed) return

  const ailments = beyondHelp === undefined ? await release.ailments() : [beyondHelp]
  const [worst] = ailments
  if (worst !== undefined) console.error((await describeAilment(release.core, namespace, worst)).join('\n'))
  const touched = (await release.history()).at(-1)?.status !== 'deployed'
  const outcome = touched ? await release.restore() : 'nothing was changed'
  const cause =
    worst === undefined
      ? helmCause(result.isCanceled ? 'the deployment was interrupted' : result.all)
      : summarize(worst)
  throw new ActionableError(`${image} was not rolled out: ${cause}; ${outcome}`, nextStep(worst))
}

/** The cause in a few words; the whole message stands above it. */
function summarize({ reason, message, pod }: Ailment): string {
  if (/ImagePull|InvalidImageName/.test(reason)) return 'the image cannot be pulled'
  return `pod ${pod} is ${reason}, ${message.split('\n')[0]}`
}

function nextStep(ailment: Ailment | undefined): string {
  switch (ailment?.reason) {
    case 'ErrImagePull':
    case 'ImagePullBackOff':
    case 'InvalidImageName':
      return 'push the image first with `make push`, or correct IMAGE_TAG'
    case 'OOMKilled':
      return "raise the memory limit in the environment's values file, or find what grew"
    case 'Unschedulable':
      return 'see `kubectl get nodes`: no node has room for the pod, or none matches its selector'
    case undefined:
      return 'mend what helm names, then run `make deploy` again'
    default:
      return 'mend what the events and log lines above show, then run `make deploy` again'
  }
}

async function reachable(release: Release): Promise<void> {
  try {
    await release.core.listNamespace({ limit: 1 })
  } catch (cause) {
    const said = cause instanceof Error ? cause.message.split('\n')[0] : String(cause)
    throw new ActionableError(
      `the cluster does not answer: ${said}`,
      'start the box with `make up`, or check KUBE_CONTEXT with `kubectl get nodes`',
      { cause },
    )
  }
}

function confirmProduction({ name }: Environment): void {
  if (name !== 'prod' || process.env['CI'] === 'true' || process.env['CONFIRM'] === 'prod') return
  throw new ActionableError('this would change production', 'run it again with CONFIRM=prod if that is meant')
}

if (import.meta.main) {
  const run = async () => deploy(readEnvironment(process.env), readConfig(process.env))
  await run().catch(reportFailure)
}
