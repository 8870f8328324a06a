/** Installs the platform's releases in the box with Helm, where Terraform's Helm provider is not available. */
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { AppsV1Api, CoreV1Api } from '@kubernetes/client-node'
import { kubeconfigPath } from 'shared/box'
import { type ClusterAccess, loadKubeConfig } from 'shared/cluster-access'
import type { Environment } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { CONTROLLERS } from 'shared/tools'
import {
  type Diagnosis,
  describeDiagnosis,
  diagnoseDeployments,
  summarizeDiagnosis,
  watchForPermanentFailure,
} from '../deploy/diagnosis.ts'
import { HelmRelease, helmCause, helmProgram, stoppedWaitingEarly } from '../deploy/helm-release.ts'
import type { PlanSummary } from './plan.ts'
import {
  changeLines,
  chartAndVersion,
  compareReleases,
  digestOf,
  type InstalledRelease,
  type ListedRelease,
  parseValues,
  type ReleaseChange,
  summarizeChanges,
} from './release-changes.ts'
import { type DescribedRelease, type Description, describeReleases, helmMark } from './releases.ts'

/** Label of Helm's releases with the name of their stage. Releases without it are not the platform's. */
const STAGE_LABEL = 'fastify-eks/stage'

/** How long an uninstallation may take if the release is no longer described, in seconds. */
const DEFAULT_TIMEOUT = 300

/** What a destroy needs to know, as the last apply recorded it. */
interface InstallationRecord {
  /** In the order of installation. */
  stages: readonly string[]
  /** How long the uninstallation of each release may take, in seconds. */
  timeouts: Readonly<Record<string, number>>
}

/** A plan of Helm's changes. */
export interface HelmPlan {
  description: Description
  changes: readonly ReleaseChange[]
  summary: PlanSummary
  /** A line for each change. */
  lines: readonly string[]
  digest: string
}

/** Helm's arguments that select a release's chart. */
export function chartArguments(
  { repository, chart, version }: Pick<DescribedRelease, 'repository' | 'chart' | 'version'>,
  directory: string,
): string[] {
  if (repository === null) return [/^https?:/.test(chart) ? chart : resolve(directory, chart)]
  const pinned = version === null ? [] : ['--version', version]
  if (repository.startsWith('oci://')) return [`${repository}/${chart}`, ...pinned]
  return [chart, '--repo', repository, ...pinned]
}

/**
 * Helm's arguments that install a release as the Helm provider would. `atomic` is missing: whoever runs Helm restores
 * the previous revision, after a diagnosis of the pods.
 */
export function upgradeArguments(release: DescribedRelease, directory: string): string[] {
  return [
    ...['upgrade', release.name, ...chartArguments(release, directory), '--install', '--hide-notes'],
    // Without --reset-values, an upgrade without values would keep the previous ones.
    ...['--reset-values', '--values', '-'],
    ...['--labels', `${STAGE_LABEL}=${release.stage}`],
    ...['--timeout', `${release.install_timeout}s`, '--history-max', String(release.max_history)],
    ...(release.description === null ? [] : ['--description', release.description]),
    ...(release.skip_crds ? ['--skip-crds'] : []),
    // The second option also takes over fields that another client has set, which the Helm provider always does.
    ...(release.take_ownership ? ['--take-ownership', '--force-conflicts'] : []),
    ...(release.wait ? ['--wait'] : []),
    ...(release.cleanup_on_fail ? ['--cleanup-on-fail'] : []),
  ]
}

/** The platform of the box, installed by Helm. */
export class HelmPlatform {
  readonly #environment: Environment
  readonly #helm: string
  /** Never KUBE_CONTEXT: like Terraform, it installs in the cluster of the cluster stack. */
  readonly #access: ClusterAccess
  readonly #title: string

  /** @throws ActionableError when Helm is not built. */
  constructor(environment: Environment) {
    this.#environment = environment
    this.#helm = helmProgram(environment.box, process.env)
    this.#access = { from: 'box', kubeconfig: kubeconfigPath(environment.box) }
    this.#title = `platform (${environment.name})`
  }

  #release(name: string, namespace: string, timeout = DEFAULT_TIMEOUT): HelmRelease {
    return new HelmRelease(this.#helm, this.#access, { name, namespace, timeout })
  }

  /**
   * Compares the description with the releases in the cluster.
   *
   * @param options - for `terraform plan`
   * @throws ActionableError when the description is invalid, or the cluster does not answer.
   */
  async plan(options: readonly string[]): Promise<HelmPlan> {
    loadKubeConfig(this.#access)
    const description = await this.#withDefinitions(await describeReleases(this.#environment, options))
    const listed = await this.#list(description.stages)
    const changes = compareReleases(
      description,
      await Promise.all(listed.map((release) => this.#inspect(release))),
    )
    return {
      description,
      changes,
      summary: summarizeChanges(changes),
      lines: changeLines(changes),
      digest: digestOf(this.#title, changes),
    }
  }

  /** The description's outputs, apart from the releases. */
  async outputs(): Promise<Record<string, unknown>> {
    return (await describeReleases(this.#environment, [])).outputs
  }

  /** Adds the values of releases that contain the definitions in another release's chart. */
  async #withDefinitions(description: Description): Promise<Description> {
    const releases = description.releases.map(async (release) => {
      const { definitions_of: other } = release
      if (other === null) return release
      const source = description.releases.find(({ name }) => name === other)
      if (source === undefined) throw new TypeError(`${release.name} needs the chart of ${other}`)
      const chart = chartArguments(source, description.directory)
      const crds = await this.#run(['show', 'crds', ...chart])
      return { ...release, values: [JSON.stringify({ definitions: [crds] })] }
    })
    return { ...description, releases: await Promise.all(releases) }
  }

  /** The platform's releases in the cluster, in the order of their stages. Those of unknown stages come last. */
  async #list(stages: readonly string[]): Promise<ListedRelease[]> {
    const others = `${STAGE_LABEL},${STAGE_LABEL} notin (${stages.join(',')})`
    const selectors = [...stages.map((stage) => `${STAGE_LABEL}=${stage}`), others]
    const lists = await Promise.all(
      selectors.map((selector) =>
        this.#run(['list', '--all-namespaces', '--output', 'json', '--selector', selector]),
      ),
    )
    return lists.flatMap((json) => JSON.parse(json) as ListedRelease[])
  }

  async #inspect(listed: ListedRelease): Promise<InstalledRelease> {
    const { name, namespace } = listed
    const json = await this.#run(['status', name, '--namespace', namespace, '--output', 'json'])
    const { info, config } = JSON.parse(json) as { info: { description: string }; config?: unknown }
    return { ...listed, description: info.description, values: config ?? {} }
  }

  /** Runs a command of Helm that changes nothing, and returns its output. */
  async #run(args: readonly string[]): Promise<string> {
    const { failed, stdout, all } = await this.#release('', 'kube-system').helm(args)
    if (!failed) return stdout
    throw new ActionableError(
      `${this.#title}: helm ${args[0]}: ${helmCause(all)}`,
      'check the box with `make status`, then run the command again',
    )
  }

  /**
   * Makes the planned changes, stage by stage. Releases of a stage are installed at the same time.
   *
   * @throws ActionableError when another run is in progress, or a release fails; a second run then continues.
   */
  async apply({ description, changes }: HelmPlan): Promise<void> {
    await this.#exclusively(async (interruption) => {
      const mark = helmMark(this.#environment.box)
      const timeouts = description.releases.map(({ name, timeout }) => [name, timeout])
      const record: InstallationRecord = {
        stages: description.stages,
        timeouts: Object.fromEntries(timeouts),
      }
      await mkdir(dirname(mark), { recursive: true })
      await writeFile(mark, JSON.stringify(record))
      for (const stage of description.stages) {
        const ofStage = changes.flatMap(({ release, status }) =>
          release?.stage === stage ? [{ release, status }] : [],
        )
        await allOrFirstFailure(
          ofStage.map(({ release, status }) => this.#install(release, status, description, interruption)),
        )
        this.#throwIfInterrupted(interruption)
      }
      for (const { action, name, namespace } of changes) {
        if (action === 'uninstall') await this.#uninstall(name, namespace, DEFAULT_TIMEOUT, interruption)
      }
    })
  }

  /**
   * Uninstalls all releases in the reverse order of their stages. It does not evaluate the description, because the
   * cluster stack has no outputs after an interrupted destroy.
   */
  async destroy(): Promise<void> {
    loadKubeConfig(this.#access)
    const mark = helmMark(this.#environment.box)
    const { stages, timeouts } = JSON.parse(await readFile(mark, 'utf8')) as InstallationRecord
    const listed = (await this.#list(stages)).toReversed()
    await this.#exclusively(async (interruption) => {
      for (const { name, namespace } of listed) {
        await this.#uninstall(name, namespace, timeouts[name] ?? DEFAULT_TIMEOUT, interruption)
      }
      await rm(mark, { force: true })
    })
  }

  async #install(
    release: DescribedRelease,
    status: string | undefined,
    { directory }: Description,
    interruption: AbortSignal,
  ): Promise<void> {
    const since = Date.now()
    const { name, namespace } = release
    const helmRelease = this.#release(name, namespace, release.install_timeout)
    await this.#recover(helmRelease, status)
    const abort = new AbortController()
    const ended = new AbortController()
    const signal = AbortSignal.any([abort.signal, interruption])
    const upgrade = () =>
      helmRelease.helm(upgradeArguments(release, directory), {
        // As JSON, so that Helm gets exactly the values that a later plan compares.
        input: JSON.stringify(parseValues(release)),
        signal,
      })
    const running = upgrade().then((result) =>
      result.failed && !signal.aborted && stoppedWaitingEarly(result.all) ? upgrade() : result,
    )
    const kubeConfig = loadKubeConfig(this.#access)
    const apis = { core: kubeConfig.makeApiClient(CoreV1Api), apps: kubeConfig.makeApiClient(AppsV1Api) }
    const diagnose = () => diagnoseDeployments(apis, namespace, `app.kubernetes.io/instance=${name}`)
    const watching = release.wait
      ? watchForPermanentFailure(diagnose, ended.signal).then((diagnosis) => {
          if (diagnosis !== undefined) abort.abort()
          return diagnosis
        })
      : undefined
    const result = await running
    ended.abort()
    const permanentFailure = await watching
    if (!result.failed) {
      const chart = release.version === null ? name : chartAndVersion(release)
      console.log(`  installed ${namespace}/${name}: ${chart} (${secondsSince(since)} s)`)
      return
    }
    // The next run continues.
    if (interruption.aborted) return
    const diagnosis = permanentFailure ?? (await diagnose().catch(() => []))[0]
    if (diagnosis !== undefined) {
      console.error((await describeDiagnosis(apis.core, namespace, diagnosis)).join('\n'))
    }
    const cause = diagnosis === undefined ? helmCause(result.all) : summarizeDiagnosis(diagnosis)
    const message = `${this.#title}: ${name} was not installed: ${cause}`
    const outcome = release.atomic ? await this.#restore(helmRelease, message) : 'its objects remain'
    throw new ActionableError(`${message}; ${outcome}`, nextStep(diagnosis))
  }

  /** Ends what an interrupted run began, because Helm refuses to upgrade a release that is pending. */
  async #recover(release: HelmRelease, status: string | undefined): Promise<void> {
    if (status === undefined || !/^(pending-|uninstalling$)/.test(status)) return
    console.log(`  an earlier run was interrupted (${release.name} is ${status})`)
    if (status === 'uninstalling') await this.#runUninstall(release)
    else console.log(`  ${release.name}: ${await release.restore()}`)
  }

  async #restore(release: HelmRelease, message: string): Promise<string> {
    // Helm may have failed before it created a revision.
    const newest = (await release.history()).at(-1)
    if (newest === undefined || newest.status === 'deployed') return 'nothing was changed'
    return release.restore().catch((failure: unknown) => {
      if (!(failure instanceof ActionableError)) throw failure
      throw new ActionableError(`${message}; ${failure.message}`, failure.nextStep, { cause: failure })
    })
  }

  async #uninstall(
    name: string,
    namespace: string,
    timeout: number,
    interruption: AbortSignal,
  ): Promise<void> {
    const since = Date.now()
    await this.#runUninstall(this.#release(name, namespace, timeout), interruption)
    this.#throwIfInterrupted(interruption)
    console.log(`  uninstalled ${namespace}/${name} (${secondsSince(since)} s)`)
  }

  async #runUninstall(release: HelmRelease, interruption?: AbortSignal): Promise<void> {
    const { failed, all } = await release.helm(
      ['uninstall', release.name, '--ignore-not-found', '--wait', '--timeout', `${release.timeout}s`],
      interruption === undefined ? {} : { signal: interruption },
    )
    if (!failed || interruption?.aborted) return
    throw new ActionableError(
      `${this.#title}: ${release.name} was not uninstalled: ${helmCause(all)}`,
      `see \`helm status ${release.name} --namespace ${release.namespace}\`; once the cause is fixed, run the command again`,
    )
  }

  #throwIfInterrupted(interruption: AbortSignal): void {
    if (!interruption.aborted) return
    throw new ActionableError(
      `${this.#title}: interrupted`,
      'nothing is lost: run the command again to continue',
    )
  }

  /**
   * Makes changes while no other run does. Otherwise, one run would take the other's pending release for an interrupted
   * one.
   *
   * @param change - receives a signal that is aborted on Ctrl-C
   */
  async #exclusively(change: (interruption: AbortSignal) => Promise<void>): Promise<void> {
    const lock = join(this.#environment.box.stateDir, 'terraform', 'platform.lock')
    const holder = existsSync(lock) ? (await readFile(lock, 'utf8')).trim() : ''
    if (holder !== '' && existsSync(`/proc/${holder}`)) {
      throw new ActionableError(
        `${this.#title}: another run is changing the releases (process ${holder})`,
        `wait until it has ended; if process ${holder} is something else, delete ${lock}`,
      )
    }
    // A killed run leaves its lock behind.
    await rm(lock, { force: true })
    await writeFile(lock, String(process.pid), { flag: 'wx' })
    const interruption = new AbortController()
    const interrupt = () => interruption.abort()
    process.on('SIGINT', interrupt).on('SIGTERM', interrupt)
    try {
      await change(interruption.signal)
      // Even if Helm had finished just then: the caller must not go on to the next stack.
      this.#throwIfInterrupted(interruption.signal)
    } finally {
      process.removeListener('SIGINT', interrupt).removeListener('SIGTERM', interrupt)
      await rm(lock, { force: true })
    }
  }
}

const secondsSince = (start: number) => ((Date.now() - start) / 1000).toFixed(1)

/** Waits until all have ended, and reports every failure. */
async function allOrFirstFailure(running: readonly Promise<void>[]): Promise<void> {
  const failures = (await Promise.allSettled(running)).flatMap((result) =>
    result.status === 'rejected' ? [result.reason as unknown] : [],
  )
  const [first] = failures
  if (first === undefined) return
  const actionable = failures.filter((failure) => failure instanceof ActionableError)
  if (!(first instanceof ActionableError) || actionable.length < failures.length) throw first
  throw new ActionableError(actionable.map(({ message }) => message).join('\n'), first.nextStep, {
    cause: first,
  })
}

function nextStep(diagnosis: Diagnosis | undefined): string {
  const again = 'then run `make apply STACK=platform` again'
  switch (diagnosis?.reason) {
    case 'ErrImagePull':
    case 'ImagePullBackOff':
      return `see which image the events above name: the box has only those of ${CONTROLLERS.map((name) => `\`make tools TOOL=${name}\``).join(', ')}; ${again}`
    case 'Unschedulable':
      return `see \`kubectl get nodes\`: no node has enough free resources, or none matches the node selector; ${again}`
    case undefined:
      return `fix what Helm reports, ${again}`
  }
  return `fix the cause that the events and log lines above show, ${again}`
}
