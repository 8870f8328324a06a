/** Nodes that Karpenter created together. */
export interface Batch {
  kind: 'batch'
  /** The pods for which it created them. */
  pods: number
  nodes: number
  /** How long it computed. */
  seconds: number
}

/** Nodes that Karpenter removed together. */
export interface Disruption {
  kind: 'disruption'
  /** `Empty` or `Underutilized`. */
  reason: string
  removed: number
  replaced: number
}

/** The fields of a log line that describe a decision. */
interface Line {
  message?: string
  duration?: string
  pods?: number
  nodeclaims?: number
  command?: string
  'disrupted-node-count'?: number
  'replacement-node-count'?: number
}

/** Reads the log of Karpenter line by line. */
export class KarpenterLog {
  /** Two lines describe a batch. The first one contains its duration. */
  #seconds = 0

  /** Returns the decision that `line` describes; undefined for other lines. */
  read(line: string): Batch | Disruption | undefined {
    const entry = parse(line)
    if (entry.message === 'found provisionable pod(s)') this.#seconds = parseDuration(entry.duration ?? '')
    if (entry.message === 'computed new nodeclaim(s) to fit pod(s)') {
      return {
        kind: 'batch',
        pods: entry.pods ?? 0,
        nodes: entry.nodeclaims ?? 0,
        seconds: this.#seconds,
      }
    }
    if (entry.message === 'disrupting node(s)') {
      return {
        kind: 'disruption',
        reason: entry.command?.split('/')[0] ?? '',
        removed: entry['disrupted-node-count'] ?? 0,
        replaced: entry['replacement-node-count'] ?? 0,
      }
    }
    return undefined
  }
}

function parse(line: string): Line {
  try {
    return JSON.parse(line) as Line
  } catch {
    // A panic or a message of the Go runtime.
    return {}
  }
}

const unitSeconds: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 1e-3, µs: 1e-6, ns: 1e-9 }

/** Parses a duration of Go, such as `1m2.5s`, to seconds. */
export function parseDuration(text: string): number {
  return [...text.matchAll(/([\d.]+)(h|ms|m|s|µs|ns)/g)].reduce(
    (sum, [, amount, unit]) => sum + Number(amount) * (unitSeconds[unit ?? ''] ?? 0),
    0,
  )
}
