/** What is read of a plan: `terraform show -json`. */
export interface PlanDocument {
  resource_changes?: {
    address: string
    mode: string
    change: { actions: string[] }
  }[]
  output_changes?: Record<string, { actions: string[] }>
}

/** What a plan does, in figures, and by name what it takes away. */
export interface PlanSummary {
  add: number
  change: number
  replace: string[]
  destroy: string[]
  outputs: number
}

/** Counts what a plan does. */
export function summarize({ resource_changes = [], output_changes = {} }: PlanDocument): PlanSummary {
  const summary: PlanSummary = { add: 0, change: 0, replace: [], destroy: [], outputs: 0 }
  for (const { address, mode, change } of resource_changes) {
    if (mode !== 'managed') continue
    const actions = new Set(change.actions)
    if (actions.has('create') && actions.has('delete')) summary.replace.push(address)
    else if (actions.has('create')) summary.add++
    else if (actions.has('update')) summary.change++
    else if (actions.has('delete')) summary.destroy.push(address)
  }
  summary.outputs = Object.values(output_changes).filter(({ actions }) => !actions.includes('no-op')).length
  return summary
}

/** Whether a plan changes nothing. */
export function isEmpty({ add, change, replace, destroy, outputs }: PlanSummary): boolean {
  return add + change + replace.length + destroy.length + outputs === 0
}

/** A plan in one line, and a line more for each risk. */
export function describePlan(title: string, summary: PlanSummary): string {
  if (isEmpty(summary)) return `${title}: no changes`
  const { add, change, replace, destroy } = summary
  return [
    `${title}: ${add} to add, ${change} to change, ${replace.length} to replace, ${destroy.length} to destroy`,
    ...replace.map((address) => `  replace  ${address}`),
    ...destroy.map((address) => `  destroy  ${address}`),
  ].join('\n')
}

/** A plan as a section of a pull request's comment. */
export function planMarkdown(title: string, summary: PlanSummary): string {
  const { add, change, replace, destroy } = summary
  const risks = [
    ...replace.map((address) => `- :warning: **replace** \`${address}\``),
    ...destroy.map((address) => `- :warning: **destroy** \`${address}\``),
  ]
  return [
    `### ${title}`,
    '',
    isEmpty(summary)
      ? 'No changes.'
      : `${add} to add, ${change} to change, ${replace.length} to replace, ${destroy.length} to destroy`,
    ...(risks.length > 0 ? ['', ...risks] : []),
    '',
  ].join('\n')
}
