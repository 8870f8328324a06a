/** What Helm has to change so that the releases in the cluster are as described. */
import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { loadYaml } from '@kubernetes/client-node'
import type { PlanSummary } from './plan.ts'
import type { DescribedRelease, Description } from './releases.ts'

/** A release in the cluster, as `helm list` shows it. */
export interface ListedRelease {
  name: string
  namespace: string
  status: string
  /** The chart's name and version, such as `karpenter-1.14.1`. */
  chart: string
}

/** A release in the cluster, with what an upgrade can change. */
export interface InstalledRelease extends ListedRelease {
  description: string
  values: unknown
}

/** A release to install, upgrade or uninstall. */
export interface ReleaseChange {
  action: 'install' | 'upgrade' | 'uninstall'
  name: string
  namespace: string
  /** What differs. */
  differences: readonly string[]
  /** The release's status in the cluster; absent when it is not there. */
  status?: string
  /** Absent for an uninstallation. */
  release?: DescribedRelease
}

/**
 * Compares the described releases with those in the cluster.
 *
 * @param installed - in the order of their stages
 * @returns installations and upgrades in the order of the stages, then uninstallations in reverse order
 */
export function compareReleases(
  { stages, releases }: Pick<Description, 'stages' | 'releases'>,
  installed: readonly InstalledRelease[],
): ReleaseChange[] {
  const key = ({ namespace, name }: { namespace: string; name: string }) => `${namespace}/${name}`
  const found = new Map(installed.map((release) => [key(release), release]))
  const ordered = stages.flatMap((stage) => releases.filter((release) => release.stage === stage))
  const described = new Set(ordered.map(key))
  const changes = ordered.flatMap((release): ReleaseChange[] => {
    const { name, namespace } = release
    const present = found.get(key(release))
    if (present === undefined) return [{ action: 'install', name, namespace, differences: [], release }]
    const differences = differencesOf(release, present)
    if (differences.length === 0) return []
    return [{ action: 'upgrade', name, namespace, differences, status: present.status, release }]
  })
  const obsolete = installed.filter((release) => !described.has(key(release))).toReversed()
  return [
    ...changes,
    ...obsolete.map(({ name, namespace, status }): ReleaseChange => {
      return { action: 'uninstall', name, namespace, differences: [], status }
    }),
  ]
}

function differencesOf(release: DescribedRelease, { status, chart, description, values }: InstalledRelease) {
  if (status !== 'deployed') return [`it is ${status}`]
  const differences: string[] = []
  if (release.version !== null && chart !== chartAndVersion(release)) {
    differences.push(`chart ${chart} to ${chartAndVersion(release)}`)
  }
  if (release.description !== null && description !== release.description) {
    differences.push("the chart's files")
  }
  if (!isDeepStrictEqual(parseValues(release), values)) differences.push('values')
  return differences
}

export function chartAndVersion({ chart, version }: DescribedRelease): string {
  return chart.endsWith('.tgz') ? basename(chart, '.tgz') : `${chart}-${version}`
}

/** The values as an object. The description has at most one document. */
export function parseValues({ values: [document] }: DescribedRelease): unknown {
  return document === undefined ? {} : loadYaml(document)
}

/** Counts the changes as Terraform counts resources. */
export function summarizeChanges(changes: readonly ReleaseChange[]): PlanSummary {
  const count = (action: ReleaseChange['action']) => changes.filter((change) => change.action === action)
  return {
    imports: 0,
    add: count('install').length,
    change: count('upgrade').length,
    replace: [],
    destroy: count('uninstall').map(({ namespace, name }) => `${namespace}/${name}`),
    outputs: 0,
  }
}

/** Describes installations and upgrades, one line each. The summary already lists uninstallations. */
export function changeLines(changes: readonly ReleaseChange[]): string[] {
  return changes.flatMap(({ action, namespace, name, differences, release }) => {
    if (release === undefined) return []
    const details =
      action === 'install'
        ? `chart ${release.version === null ? basename(release.chart) : chartAndVersion(release)}`
        : differences.join(', ')
    return [`  ${action}  ${namespace}/${name}: ${details}`]
  })
}

/** SHA-256 of the changes: two plans have the same digest if they make the same changes in the same environment. */
export function digestOf(title: string, changes: readonly ReleaseChange[]): string {
  return createHash('sha256')
    .update(JSON.stringify([title, changes]))
    .digest('hex')
}
