/** The lines of a monthly bill, and the table that `make cost` prints. */
import type { Price } from 'shared/prices'

/** A line of the monthly bill. */
export interface CostLine {
  item: string
  quantity: number
  price: Price
  /** US dollars a month. */
  usd: number
  /** An assumption about something that the plan does not contain. */
  assumption?: string
}

/** AWS's convention: a twelfth of 365 days. */
export const HOURS_PER_MONTH = 730

/** A line of the bill for a month; what has a price per hour runs all of it. */
export function line(item: string, quantity: number, price: Price, assumption?: string): CostLine {
  const hours = price.per === 'hour' ? HOURS_PER_MONTH : 1
  return {
    item,
    quantity,
    price,
    usd: quantity * price.usd * hours,
    ...(assumption === undefined ? {} : { assumption }),
  }
}

/** Adds up the lines with the same item. */
export function combine(lines: readonly CostLine[]): CostLine[] {
  const combined = new Map<string, CostLine>()
  for (const entry of lines) {
    const { quantity = 0, usd = 0 } = combined.get(entry.item) ?? {}
    combined.set(entry.item, { ...entry, quantity: quantity + entry.quantity, usd: usd + entry.usd })
  }
  return [...combined.values()]
}

/** Costs that depend on the load or on the account. */
const NOT_COUNTED = [
  'NAT gateways and VPC endpoints of an existing VPC',
  'data transfer, also through NAT and endpoints, and nodes, capacity units and logs that come with load',
  'tax, discounts, savings plans and free tiers',
]

/** Formats a bill as a table, the most expensive line first, with its assumptions and omissions. */
export function renderCost(bill: readonly CostLine[]): string {
  const lines = bill.toSorted((one, other) => other.usd - one.usd)
  const assumptions = [...new Set(lines.flatMap(({ assumption = [] }) => assumption))]
  const note = ({ assumption, price }: CostLine): string =>
    [
      assumption === undefined ? '' : ` [${assumptions.indexOf(assumption) + 1}]`,
      price.seen.length < 2 ? ' [?]' : '',
    ].join('')
  const total = lines.reduce((sum, { usd }) => sum + usd, 0)
  const rows = [
    ['', 'quantity', 'unit price', 'USD/month'],
    ...lines.map((entry) => [
      entry.item + note(entry),
      String(Number(entry.quantity.toFixed(2))),
      `${entry.price.usd} / ${entry.price.per}`,
      entry.usd.toFixed(2),
    ]),
    ['total', '', '', total.toFixed(2)],
  ]
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const table = rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  '),
  )
  return [
    ...table,
    '',
    ...assumptions.map((assumption, index) => `[${index + 1}] assumed: ${assumption}`),
    ...(lines.some(({ price }) => price.seen.length < 2) ? ['[?] price known from one source only'] : []),
    ...NOT_COUNTED.map((item) => `not counted: ${item}`),
  ].join('\n')
}
