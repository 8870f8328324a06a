import type { ProblemName } from './catalogue.ts'

/**
 * An answer that is no success, decided by a route.
 *
 * @param detail - says to the client what to do about it
 * @param options - `type`: which of the problems of this status it is, if there are several; `headers` go with
 *   the answer
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
