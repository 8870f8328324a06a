import { createHash } from 'node:crypto'

/** The parts of `terraform show -json` of a plan that this module reads. */
export interface PlanDocument {
  resource_changes?: {
    address: string
    mode: string
    type?: string
    deposed?: string
    /** Why Terraform replaces or deletes it, such as `replace_because_tainted`. */
    action_reason?: string
    change: Change
  }[]
  output_changes?: Record<string, Change>
}

/** A planned change. The `_sensitive` fields mirror the shape of the values and mark their sensitive parts. */
interface Change {
  actions: string[]
  before?: unknown
  after?: unknown
  after_unknown?: unknown
  before_sensitive?: unknown
  after_sensitive?: unknown
  replace_paths?: unknown
  importing?: unknown
}

/** The number of changes of each kind, and the addresses of resources to be replaced or destroyed. */
export interface PlanSummary {
  /** Existing resources to be imported; some of them also change. */
  imports: number
  add: number
  change: number
  replace: string[]
  destroy: string[]
  outputs: number
}

/** Counts a plan's changes. */
export function summarize({ resource_changes = [], output_changes = {} }: PlanDocument): PlanSummary {
  const summary: PlanSummary = { imports: 0, add: 0, change: 0, replace: [], destroy: [], outputs: 0 }
  for (const { address, mode, change } of resource_changes) {
    if (mode !== 'managed') continue
    if (change.importing) summary.imports++
    const actions = new Set(change.actions)
    if (actions.has('create') && actions.has('delete')) summary.replace.push(address)
    else if (actions.has('create')) summary.add++
    else if (actions.has('update')) summary.change++
    else if (actions.has('delete')) summary.destroy.push(address)
  }
  summary.outputs = Object.values(output_changes).filter(({ actions }) => !actions.includes('no-op')).length
  return summary
}

/** Whether a plan creates a resource of a type; a replacement counts. */
export function creates({ resource_changes = [] }: PlanDocument, type: string): boolean {
  return resource_changes.some(
    (resource) => resource.type === type && resource.change.actions.includes('create'),
  )
}

/** Whether a plan changes nothing. */
export function isEmpty({ imports, add, change, replace, destroy, outputs }: PlanSummary): boolean {
  return imports + add + change + replace.length + destroy.length + outputs === 0
}

/** Summarises a plan in one line, followed by a line for each replacement and destruction. */
export function describePlan(title: string, summary: PlanSummary): string {
  if (isEmpty(summary)) return `${title}: no changes`
  const { replace, destroy } = summary
  return [
    `${title}: ${formatCounts(summary)}`,
    ...replace.map((address) => `  replace  ${address}`),
    ...destroy.map((address) => `  destroy  ${address}`),
  ].join('\n')
}

function formatCounts({ imports, add, change, replace, destroy }: PlanSummary): string {
  const counts = `${add} to add, ${change} to change, ${replace.length} to replace, ${destroy.length} to destroy`
  return imports === 0 ? counts : `${imports} to import, ${counts}`
}

/**
 * SHA-256 of a plan's changes, in hexadecimal. Two plans have the same digest if they make the same changes, with the
 * same old and new values, in the same stack and environment. Sensitive values are left out: a short secret could be
 * guessed from the digest, and reviewers never see them anyway.
 *
 * @param title - the stack and its environment
 */
export function planDigest(
  title: string,
  { resource_changes = [], output_changes = {} }: PlanDocument,
): string {
  const isEffective = ({ actions, importing }: Change) => Boolean(importing) || !actions.includes('no-op')
  // Stable, because Terraform sorts object keys and resources by name.
  const content = [
    title,
    resource_changes
      .filter(({ change }) => isEffective(change))
      .map(({ address, deposed, change }) => [address, deposed, visible(change)]),
    Object.entries(output_changes)
      .filter(([, change]) => isEffective(change))
      .map(([name, change]) => [name, visible(change)]),
  ]
  return createHash('sha256').update(JSON.stringify(content)).digest('hex')
}

function visible({ before_sensitive, after_sensitive, before, after, ...rest }: Change): unknown {
  return { ...rest, before: masked(before, before_sensitive), after: masked(after, after_sensitive) }
}

/** Masks the sensitive parts of a value: all of it where the mark is `true`, else what a list or object marks. */
function masked(value: unknown, sensitive: unknown): unknown {
  if (sensitive === true) return '(sensitive value)'
  if (Array.isArray(value) && Array.isArray(sensitive)) {
    return value.map((item, index) => masked(item, sensitive[index]))
  }
  if (isRecord(value) && isRecord(sensitive)) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, masked(item, sensitive[key])]))
  }
  return value
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Longest plan in a comment, in characters. GitHub allows 65,536 in a comment, and ours has up to six plans. */
const LONGEST_TEXT = 10_000

/**
 * Formats a plan as a section of a pull request comment.
 *
 * @param text - the output of `terraform show`, which masks sensitive values
 */
export function planMarkdown(title: string, summary: PlanSummary, digest: string, text: string): string {
  if (isEmpty(summary)) return [`### ${title}`, '', 'No changes.', ''].join('\n')
  const { replace, destroy } = summary
  const risks = [
    ...replace.map((address) => `- :warning: **replace** \`${address}\``),
    ...destroy.map((address) => `- :warning: **destroy** \`${address}\``),
  ]
  const diff = asDiff(text)
  // Longer than any run of backticks in the plan, so that the plan cannot close the code block.
  const fence = '`'.repeat(Math.max(2, ...(diff.match(/`+/g) ?? []).map(({ length }) => length)) + 1)
  return [
    `### ${title}`,
    '',
    formatCounts(summary),
    ...(risks.length > 0 ? ['', ...risks] : []),
    '',
    `<details><summary>The plan, digest <code>${digest.slice(0, 12)}</code></summary>`,
    '',
    `${fence}diff`,
    diff,
    fence,
    '',
    '</details>',
    '',
  ].join('\n')
}

/** Moves Terraform's signs to the first column, where GitHub colours them in a `diff` block, and cuts long plans. */
function asDiff(text: string): string {
  const diff = text.trim().replace(/^( +)([+-]|~)/gm, (_, indent: string, sign: string) => {
    return `${sign === '~' ? '!' : sign}${indent}`
  })
  if (diff.length <= LONGEST_TEXT) return diff
  const end = diff.lastIndexOf('\n', LONGEST_TEXT)
  const left = diff.slice(end + 1).split('\n').length
  return `${diff.slice(0, end)}\n... and ${left} more lines: the job's log shows the whole plan`
}
