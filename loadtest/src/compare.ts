import { FIGURES, type Figure, formatFigure, formatNumber, formatQuantity } from './figures.ts'
import { formatAutoscaler } from './report.ts'
import type { RunReport, Verdict } from './run-report.ts'

/** A run in a comparison. */
export interface NamedRun {
  /** Name of its file, without directory and extension. */
  name: string
  run: RunReport
}

/** How a run compares with the first one; null where the difference does not matter. */
export type Effect = 'better' | 'worse' | 'different'

/** A run's value in a row of the comparison. */
export interface Cell {
  text: string
  /** The difference from the first run; empty where there is none. */
  difference: string
  effect: Effect | null
}

/** A row with a cell for each run, of which the first has no difference. */
export interface ComparedRow {
  name: string
  cells: Cell[]
}

export interface Comparison {
  runs: readonly NamedRun[]
  /** What the runs should have in common, so that their difference has a single cause. */
  conditions: ComparedRow[]
  verdicts: ComparedRow[]
  figures: ComparedRow[]
}

/** Above this, as a share of the first run's value, a change matters if it also reaches the figure's floor. */
const RELATIVE_THRESHOLD = 0.1

/** The rule by which differences are marked, for readers of a comparison. */
export const MARKING_RULE =
  'A difference is marked if a verdict changed, if only one of the two runs has a value, or if a value changed by more than 10 % and at least by its floor. For moments, such as the first decision, only the floor counts.'

/** The floors of all figures, for readers of a comparison. */
export const FLOORS = FIGURES.map((figure) => `${figure.name} ${formatQuantity(figure.floor, figure)}`).join(
  ', ',
)

/** Compares each run with the first one. */
export function compareRuns(runs: readonly [NamedRun, NamedRun, ...NamedRun[]]): Comparison {
  const reports = runs.map(({ run }) => run)
  const verdictNames = new Set(reports.flatMap(({ verdicts }) => verdicts.map(({ name }) => name)))
  return {
    runs,
    conditions: CONDITIONS.map(({ name, value }) => ({ name, cells: compareConditions(reports.map(value)) })),
    verdicts: [...verdictNames].map((name) => ({
      name,
      cells: compareVerdicts(
        reports.map(({ verdicts }) => verdicts.find((verdict) => verdict.name === name) ?? null),
      ),
    })),
    figures: FIGURES.map((figure) => ({ name: figure.name, cells: compareFigures(figure, reports) })),
  }
}

const CONDITIONS: readonly { name: string; value: (run: RunReport) => string }[] = [
  { name: 'profile', value: ({ profile }) => profile },
  { name: 'load', value: ({ description }) => description },
  { name: 'environment', value: ({ environment }) => environment },
  { name: 'target', value: ({ baseUrl }) => baseUrl },
  { name: 'autoscaler', value: describeAutoscaler },
  { name: 'complete', value: ({ interrupted }) => (interrupted ? 'interrupted' : 'yes') },
]

/** Formats the bounds and targets of a run's autoscaler. */
export function describeAutoscaler({ scaling }: RunReport): string {
  return scaling === null ? 'no cluster watched' : formatAutoscaler(scaling.autoscaler)
}

function compareConditions(texts: readonly string[]): Cell[] {
  return texts.map((text) => {
    const differs = text !== texts[0]
    return { text, difference: differs ? 'not the same' : '', effect: differs ? 'different' : null }
  })
}

function compareVerdicts(verdicts: readonly (Verdict | null)[]): Cell[] {
  const first = verdicts[0] ?? null
  return verdicts.map((verdict) => {
    const text = verdict === null ? 'not checked' : formatVerdict(verdict)
    if (verdict?.met === first?.met) return { text, difference: '', effect: null }
    if (verdict === null || first === null) return { text, difference: 'one run only', effect: 'different' }
    return verdict.met
      ? { text, difference: 'met now', effect: 'better' }
      : { text, difference: 'missed now', effect: 'worse' }
  })
}

/** Formats a verdict, such as `missed: 412 ms, bound ≤ 300 ms`. */
export function formatVerdict(verdict: Verdict): string {
  const { measured, bound } = formatVerdictValues(verdict)
  return `${verdict.met ? 'met' : 'missed'}: ${measured}, bound ${bound}`
}

/** Formats the measured value and the bound of a verdict. */
export function formatVerdictValues({ value, comparison, bound, unit }: Verdict): {
  measured: string
  bound: string
} {
  const format = (number: number) => formatQuantity(number, { digits: 4, unit })
  return {
    measured: value === null ? 'nothing measured' : format(value),
    bound: `${comparison === '<=' ? '≤' : '≥'} ${format(bound)}`,
  }
}

function compareFigures(figure: Figure, reports: readonly RunReport[]): Cell[] {
  const [first, ...others] = reports.map(figure.value)
  const texts = reports.map((run) => formatFigure(figure, run))
  const cells = others.map((value) => differ(figure, first ?? null, value))
  return texts.map((text, index) => ({ text, ...(cells[index - 1] ?? { difference: '', effect: null }) }))
}

function differ(figure: Figure, first: number | null, value: number | null): Omit<Cell, 'text'> {
  if (first === value) return { difference: '', effect: null }
  if (first === null || value === null) return { difference: 'one run only', effect: 'different' }
  const absolute = value - first
  const sign = absolute > 0 ? '+' : '−'
  const amount = `${sign}${formatQuantity(Math.abs(absolute), figure)}`
  const relative = first === 0 || figure.isMoment ? null : absolute / first
  const share = relative === null ? '' : ` (${sign}${formatNumber(Math.abs(relative) * 100, 0)} %)`
  const matters =
    Math.abs(absolute) >= figure.floor && (relative === null || Math.abs(relative) > RELATIVE_THRESHOLD)
  return { difference: `${amount}${share}`, effect: matters ? judge(figure, absolute) : null }
}

function judge({ better }: Figure, absolute: number): Effect {
  if (better === 'neither') return 'different'
  return absolute < 0 === (better === 'lower') ? 'better' : 'worse'
}

/** The letter of a run in a comparison, as its columns and lines name it. */
export function letter(index: number): string {
  return String.fromCharCode('A'.charCodeAt(0) + index)
}

/** All marked differences as sentences. */
export function listMarked({
  runs,
  conditions,
  verdicts,
  figures,
}: Comparison): { effect: Effect; text: string }[] {
  const slos = verdicts.map(({ name, cells }) => ({ name: `SLO ${name}`, cells }))
  return [...conditions, ...slos, ...figures].flatMap(({ name, cells }) =>
    cells.flatMap(({ text, difference, effect }, index) => {
      if (effect === null) return []
      const which = runs.length === 2 ? '' : ` of ${letter(index)}`
      return [{ effect, text: `${name}${which}: ${cells[0]?.text} → ${text}; ${difference}` }]
    }),
  )
}

/** Formats a comparison as Markdown for a pull request. */
export function formatComparison(comparison: Comparison): string {
  const { runs, conditions, verdicts, figures } = comparison
  const letters = runs.map((_, index) => letter(index))
  const others = letters.slice(1).map((name) => `${name} against A`)
  const row = (cells: readonly string[]) => `| ${cells.map(escapeCell).join(' | ')} |`
  const table = (title: string, rows: readonly ComparedRow[]) => [
    '',
    row([title, ...letters, ...others]),
    `| --- |${' ---: |'.repeat(letters.length)}${' --- |'.repeat(others.length)}`,
    ...rows.map(({ name, cells }) =>
      row([name, ...cells.map(({ text }) => text), ...cells.slice(1).map(formatDifference)]),
    ),
  ]
  // Equal conditions say nothing about a difference.
  const unequal = conditions.filter(({ cells }) => cells.some(({ effect }) => effect !== null))
  return [
    `## Load tests compared`,
    '',
    ...runs.map(
      ({ name, run }, index) => `- ${letter(index)}: \`${name}\`, ${run.profile}, ${run.startedAt}`,
    ),
    ...(unequal.length === 0 ? [] : table('not the same', unequal)),
    ...table('SLO', verdicts),
    ...table('figure', figures),
    '',
    `${MARKING_RULE} Floors: ${FLOORS}.`,
    '',
  ].join('\n')
}

function formatDifference({ difference, effect }: Cell): string {
  return effect === null ? difference : `**${effect}**: ${difference}`
}

/** Escapes what would end a cell or start HTML. */
function escapeCell(text: string): string {
  return text.replaceAll('\n', ' ').replaceAll('|', '\\|').replaceAll('<', '&lt;')
}
