import type { ProblemName } from './catalogue.ts'

/**
 * An error answer that a route or plugin chose.
 *
 * @param detail - tells the client the reason and what to do
 * @param options - `type`: the problem, if several have this status; `headers`: headers of the answer
 */
export class HttpProblem extends Error {
  override readonly name = 'HttpProblem'
  readonly code = 'HTTP_PROBLEM'
  readonly statusCode: number
  readonly type: ProblemName | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(
    statusCode: number,
    detail: string,
    {
      type,
      headers = {},
      cause,
    }: { type?: ProblemName; headers?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(detail, { cause })
    this.statusCode = statusCode
    this.type = type
    this.headers = headers
  }
}
