import { ActionableError } from 'shared/errors'
import { RemainingTime, type Round, type Signal } from './plan.ts'
import type { Figures, Outcome } from './results.ts'

/** What a comparison does with the release. Each step ends early, without an error, if `stop` is aborted. */
export interface Steps {
  /** Deploys the release with a signal, and waits until it has the minimum of replicas and current metrics. */
  prepare: (signal: Signal, stop: AbortSignal) => Promise<void>
  /** Runs the load test. */
  measure: (round: Round, stop: AbortSignal) => Promise<{ report: string; figures: Figures }>
  /** Gives the release its own values again. */
  restore: () => Promise<void>
}

/**
 * Runs the rounds one after the other, and restores the release at the end, also after a failure or when `stop` is
 * aborted. A round that fails is reported, and the next one begins.
 *
 * @param report - receives the outcome of each round as soon as it has ended
 * @throws ActionableError when the release cannot be restored
 */
export async function compareSignals(
  rounds: readonly Round[],
  { prepare, measure, restore }: Steps,
  {
    stop,
    print,
    report,
  }: { stop: AbortSignal; print: (line: string) => void; report: (outcome: Outcome) => void },
): Promise<void> {
  const remaining = new RemainingTime()
  try {
    for (const [index, round] of rounds.entries()) {
      if (stop.aborted) break
      const { load, signal, run } = round
      print(
        `[${index + 1}/${rounds.length}] ${load}, ${signal}, run ${run}; about ${remaining.minutes(rounds.slice(index))} min left`,
      )
      const since = Date.now()
      const outcome = await attempt(round, async () => {
        await prepare(signal, stop)
        return stop.aborted ? undefined : measure(round, stop)
      })
      // Figures of an interrupted load would be those of another load.
      if (stop.aborted || outcome === undefined) break
      report(outcome)
      print(`  ${describe(outcome)}`)
      if ('figures' in outcome) remaining.add(load, (Date.now() - since) / 1_000)
    }
  } finally {
    print('restoring the release')
    await restore()
  }
}

async function attempt(
  round: Round,
  action: () => Promise<{ report: string; figures: Figures } | undefined>,
): Promise<Outcome | undefined> {
  try {
    const measured = await action()
    return measured === undefined ? undefined : { ...round, ...measured }
  } catch (error) {
    if (!(error instanceof ActionableError)) throw error
    return { ...round, failure: `${error.message}; ${error.nextStep}` }
  }
}

function describe(outcome: Outcome): string {
  if ('failure' in outcome) return `failed: ${outcome.failure}`
  const { sloHoldsAgainSecond, firstDecisionSecond, mostReplicas } = outcome.figures
  const after = (second: number | null) => (second === null ? 'never' : `after ${second} s`)
  return `first decision ${after(firstDecisionSecond)}, SLO holds again ${after(sloHoldsAgainSecond)}, ${mostReplicas} replicas`
}
