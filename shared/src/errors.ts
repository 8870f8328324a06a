/**
 * An error an operator can act on: what went wrong in one line, and what to do next.
 * Everything a command may fail with in ordinary use is one of these; any other error is a defect.
 */
export class ActionableError extends Error {
  readonly nextStep: string

  constructor(message: string, nextStep: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ActionableError'
    this.nextStep = nextStep
  }
}

/** Prints `error` as an operator should see it and sets a failing exit code. */
export function reportFailure(error: unknown): void {
  process.exitCode = 1
  if (error instanceof ActionableError) {
    process.stderr.write(`error: ${error.message}\n next: ${error.nextStep}\n`)
    return
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.stderr.write(`error: unexpected failure, please report it with this trace\n${detail}\n`)
}

/** Keeps this process running when its output is lost: without it, Node ends a process whose log's disk is full. */
export function tolerateLostOutput(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
}

/** The message of an error's innermost cause. The error of `fetch`, for example, only says "fetch failed". */
export function rootCause(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.cause !== undefined) return rootCause(error.cause)
  // Connecting to several addresses fails with one error for each, and no message of its own.
  if (error instanceof AggregateError && error.errors.length > 0) return rootCause(error.errors[0])
  return error.message
}
