import http from 'node:http'
import https from 'node:https'
import type { HealthCheck, Target } from './state.ts'

/** The reasons that ELBv2 gives for a state of a target (API reference, TargetHealth). */
export type Reason =
  | 'Elb.InitialHealthChecking'
  | 'Target.ResponseCodeMismatch'
  | 'Target.Timeout'
  | 'Target.FailedHealthChecks'
  | 'Target.DeregistrationInProgress'
  | 'Target.NotRegistered'
  | 'Target.NotInUse'

/** Why a health check failed. */
export interface Failure {
  reason: Reason
  description: string
}

/** Checks a target once. Resolves to undefined if it is healthy. */
export async function checkTarget(
  check: HealthCheck,
  target: Target,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  if (target.address === undefined) return failed
  const timeout = AbortSignal.timeout(check.timeoutSeconds * 1000)
  const { promise, resolve } = Promise.withResolvers<Failure | undefined>()
  const port = check.port ?? target.port
  const request = (check.protocol === 'HTTPS' ? https : http).get(
    {
      host: target.address,
      port,
      path: check.path,
      // A connection of its own for each check. An ALB does not verify certificates of targets.
      agent: false,
      rejectUnauthorized: false,
      headers: { 'user-agent': 'ELB-HealthChecker/2.0', connection: 'close' },
      signal: AbortSignal.any([signal, timeout]),
    },
    ({ statusCode = 0 }) => {
      request.destroy()
      if (matchesCode(check.matcher, statusCode)) return resolve(undefined)
      resolve({
        reason: 'Target.ResponseCodeMismatch',
        description: `Health checks failed with these codes: [${statusCode}]`,
      })
    },
  )
  request.on('error', () =>
    resolve(timeout.aborted ? { reason: 'Target.Timeout', description: 'Request timed out' } : failed),
  )
  return promise
}

const failed: Failure = { reason: 'Target.FailedHealthChecks', description: 'Health checks failed' }

/** Whether a status code is in a matcher such as `200,300-399`. */
export function matchesCode(matcher: string, code: number): boolean {
  return matcher.split(',').some((range) => {
    const [first, last = first] = range.split('-').map(Number)
    return first !== undefined && last !== undefined && first <= code && code <= last
  })
}
