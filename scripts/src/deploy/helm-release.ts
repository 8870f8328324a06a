/** Helm releases: the program, and a release's revisions. */
import { existsSync } from 'node:fs'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import type { ClusterAccess } from 'shared/cluster-access'
import { ActionableError } from 'shared/errors'
import { programPath } from 'shared/tools'

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

/** The cause of a failure in Helm's output: the first schema violation, what is not ready, or the last line. */
export function helmCause(output: string): string {
  const schema = /values don't meet the specifications of the schema\(s\)[^:]*:\n(?:[^\n]*:\n)?(- .*)/s.exec(
    output,
  )
  if (schema?.[1] !== undefined) {
    const [first] = schema[1].split('\n').filter((line) => line.startsWith('- '))
    return `the chart does not allow a value: ${first?.slice(2)}`
  }
  const waiting = [
    ...output.matchAll(
      /^(?:Error: .*)?resource (\w+)\/\S*\/(\S+) not ready\. status: (\w+)(?:, message: (.*))?$/gm,
    ),
  ]
  if (waiting.length > 0) {
    return waiting
      .map(([, kind, name, status, message]) => `${kind} ${name} is not ready: ${message || status}`)
      .join('; ')
  }
  const last = output.trimEnd().split('\n').at(-1) ?? ''
  return last
    .replace(/^Error: (INSTALLATION FAILED: |UPGRADE FAILED: )?/, '')
    .replace(/^execution error at \([^)]*\): /, '')
}

/**
 * Whether Helm stopped waiting before its timeout. Helm takes a custom resource without conditions for ready. If its
 * controller sets the first conditions just when Helm stops waiting for that reason, Helm reports that it is not ready.
 */
export function stoppedWaitingEarly(output: string): boolean {
  return /not ready\. status: InProgress/.test(output) && !output.includes('context deadline exceeded')
}

/** A Helm release in a cluster. */
export class HelmRelease {
  readonly #helm: string
  readonly #access: string[]
  readonly name: string
  readonly namespace: string
  /** How long a rollout or a rollback may take, in seconds. */
  readonly timeout: number

  constructor(
    helm: string,
    access: ClusterAccess,
    { name, namespace, timeout }: { name: string; namespace: string; timeout: number },
  ) {
    this.#helm = helm
    this.name = name
    this.namespace = namespace
    this.timeout = timeout
    this.#access = [
      ...(access.from === 'box' ? ['--kubeconfig', access.kubeconfig] : ['--kube-context', access.context]),
      ...['--namespace', namespace],
    ]
  }

  /**
   * Runs Helm in the release's namespace.
   *
   * @param input - for its standard input, such as the values of `--values -`
   */
  helm(args: readonly string[], { signal, input }: { signal?: AbortSignal; input?: string } = {}) {
    return execa(this.#helm, [...args, ...this.#access], {
      all: true,
      reject: false,
      ...(signal === undefined ? {} : { cancelSignal: signal }),
      ...(input === undefined ? {} : { input }),
    })
  }

  /**
   * The release's revisions; empty when there is no release.
   *
   * @throws ActionableError when they cannot be read, so that `restore` never uninstalls a release by mistake
   */
  async history(): Promise<Revision[]> {
    const { failed, stdout, all } = await this.helm(['history', this.name, '--output', 'json'])
    if (!failed) return JSON.parse(stdout) as Revision[]
    if (/release: not found/.test(all)) return []
    throw new ActionableError(
      `the release's history cannot be read: ${helmCause(all)}`,
      `once the cluster answers, see \`helm history ${this.name} --namespace ${this.namespace}\``,
    )
  }

  /** Rolls back to the last deployed revision, or uninstalls a release that never was deployed. */
  async restore(): Promise<string> {
    const revision = lastDeployed(await this.history())
    if (revision !== undefined) return this.rollBackTo(revision)
    await this.#recover(['uninstall', this.name, '--wait', '--ignore-not-found'])
    return 'nothing was deployed before, so the release was uninstalled'
  }

  /**
   * Rolls back to a revision, and waits until it is rolled out.
   *
   * @throws ActionableError when Helm fails
   */
  async rollBackTo(revision: number): Promise<string> {
    await this.#recover(['rollback', this.name, String(revision), '--wait'])
    return `rolled back to revision ${revision}`
  }

  async #recover(command: readonly string[]): Promise<void> {
    const { failed, all } = await this.helm([...command, '--timeout', `${this.timeout}s`])
    if (!failed) return
    throw new ActionableError(
      `the previous revision could not be restored: ${helmCause(all)}`,
      `see \`helm history ${this.name} --namespace ${this.namespace}\` and \`kubectl get events --namespace ${this.namespace}\``,
    )
  }
}
