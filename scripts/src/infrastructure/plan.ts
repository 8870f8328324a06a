import { createHash } from 'node:crypto'

/** The parts of a plan that are read: `terraform show -json`. */
export interface PlanDocument {
  resource_changes?: {
    address: string
    mode: string
    type?: string
    deposed?: string
    change: Change
  }[]
  output_changes?: Record<string, Change>
}

/** A change as Terraform plans it. The `_sensitive` values mark, in the value's own shape, what must not be shown. */
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

/** What a plan does, in figures, and by name what it takes away. */
export interface PlanSummary {
  /** Existing resources that the stack takes over; some of them change as well. */
  take: number
  add: number
  change: number
  replace: string[]
  destroy: string[]
  outputs: number
}

/** Counts what a plan does. */
export function summarize({ resource_changes = [], output_changes = {} }: PlanDocument): PlanSummary {
  const summary: PlanSummary = { take: 0, add: 0, change: 0, replace: [], destroy: [], outputs: 0 }
  for (const { address, mode, change } of resource_changes) {
    if (mode !== 'managed') continue
    if (change.importing) summary.take++
    const actions = new Set(change.actions)
    if (actions.has('create') && actions.has('delete')) summary.replace.push(address)
    else if (actions.has('create')) summary.add++
    else if (actions.has('update')) summary.change++
    else if (actions.has('delete')) summary.destroy.push(address)
  }
  summary.outputs = Object.values(output_changes).filter(({ actions }) => !actions.includes('no-op')).length
  return summary
}

/** Whether a plan creates a resource of a type, be it in place of another one. */
export function creates({ resource_changes = [] }: PlanDocument, type: string): boolean {
  return resource_changes.some(
    (resource) => resource.type === type && resource.change.actions.includes('create'),
  )
}

/** Whether a plan changes nothing. */
export function isEmpty({ take, add, change, replace, destroy, outputs }: PlanSummary): boolean {
  return take + add + change + replace.length + destroy.length + outputs === 0
}

/** A plan in one line, and a line more for each risk. */
export function describePlan(title: string, summary: PlanSummary): string {
  if (isEmpty(summary)) return `${title}: no changes`
  const { replace, destroy } = summary
  return [
    `${title}: ${inFigures(summary)}`,
    ...replace.map((address) => `  replace  ${address}`),
    ...destroy.map((address) => `  destroy  ${address}`),
  ].join('\n')
}

function inFigures({ take, add, change, replace, destroy }: PlanSummary): string {
  const figures = `${add} to add, ${change} to change, ${replace.length} to replace, ${destroy.length} to destroy`
  return take === 0 ? figures : `${take} to take over, ${figures}`
}

/**
 * A fingerprint of what a plan would do: SHA-256 in hexadecimal. Two plans have the same digest if they make the same
 * changes, from the same values to the same values, in the same stack and environment. Sensitive values count as
 * one and the same, because a digest of a short secret would give the secret away, and nobody approved a value that
 * was never shown.
 *
 * @param title the stack and its environment.
 */
export function planDigest(
  title: string,
  { resource_changes = [], output_changes = {} }: PlanDocument,
): string {
  const takesPlace = ({ actions, importing }: Change) => Boolean(importing) || !actions.includes('no-op')
  // Terraform writes the keys of objects, and the resources, in the order of their names.
  const content = [
    title,
    resource_changes
      .filter(({ change }) => takesPlace(change))
      .map(({ address, deposed, change }) => [address, deposed, visible(change)]),
    Object.entries(output_changes)
      .filter(([, change]) => takesPlace(change))
      .map(([name, change]) => [name, visible(change)]),
  ]
  return createHash('sha256').update(JSON.stringify(content)).digest('hex')
}

function visible({ before_sensitive, after_sensitive, before, after, ...rest }: Change): unknown {
  return { ...rest, before: masked(before, before_sensitive), after: masked(after, after_sensitive) }
}

/** A value without what is marked as sensitive: `true` marks all of it, an object or a list marks parts. */
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

/** Longest plan in a comment, in characters. GitHub takes 65,536 for a whole comment, which holds six plans. */
const LONGEST_TEXT = 10_000

/**
 * A plan as a section of a pull request's comment.
 *
 * @param text the plan as `terraform show` prints it, in which Terraform has masked sensitive values.
 */
export function planMarkdown(title: string, summary: PlanSummary, digest: string, text: string): string {
  if (isEmpty(summary)) return [`### ${title}`, '', 'No changes.', ''].join('\n')
  const { replace, destroy } = summary
  const risks = [
    ...replace.map((address) => `- :warning: **replace** \`${address}\``),
    ...destroy.map((address) => `- :warning: **destroy** \`${address}\``),
  ]
  const shown = asDiff(text)
  // Longer than any in the text, so that nothing in there can end the block.
  const fence = '`'.repeat(Math.max(2, ...(shown.match(/`+/g) ?? []).map(({ length }) => length)) + 1)
  return [
    `### ${title}`,
    '',
    inFigures(summary),
    ...(risks.length > 0 ? ['', ...risks] : []),
    '',
    `<details><summary>The plan, digest <code>${digest.slice(0, 12)}</code></summary>`,
    '',
    `${fence}diff`,
    shown,
    fence,
    '',
    '</details>',
    '',
  ].join('\n')
}

/** Terraform's signs in the first column, where a block of kind `diff` colours them, and no more than fits. */
function asDiff(text: string): string {
  const diff = text.trim().replace(/^( +)([+-]|~)/gm, (_, indent: string, sign: string) => {
    return `${sign === '~' ? '!' : sign}${indent}`
  })
  if (diff.length <= LONGEST_TEXT) return diff
  const end = diff.lastIndexOf('\n', LONGEST_TEXT)
  const left = diff.slice(end + 1).split('\n').length
  return `${diff.slice(0, end)}\n... and ${left} more lines: the job's log shows the whole plan`
}
