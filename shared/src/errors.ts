/**
 * An error that the operator can resolve: one line with the cause, and the next step.
 * Every failure that can occur in normal use has this class; any other error is a bug.
 */
export class ActionableError extends Error {
  readonly nextStep: string

  constructor(message: string, nextStep: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ActionableError'
    this.nextStep = nextStep
  }
}

/** Prints an error for the operator and sets exit code 1. */
export function reportFailure(error: unknown): void {
  process.exitCode = 1
  if (error instanceof ActionableError) {
    process.stderr.write(`error: ${error.message}\n next: ${error.nextStep}\n`)
    return
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.stderr.write(`error: unexpected failure, please report it with this trace\n${detail}\n`)
}

/** Ignores write errors on stdout and stderr, such as a full disk under the log, which otherwise end the process. */
export function tolerateLostOutput(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
}

/** The message of an error's innermost cause. The outer message may be general, such as "fetch failed". */
export function rootCause(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.cause !== undefined) return rootCause(error.cause)
  // A failed connection to a host with several addresses has no message, but one error for each address.
  if (error instanceof AggregateError && error.errors.length > 0) return rootCause(error.errors[0])
  return error.message
}
