import type { Authenticated } from '../aws/authentication.ts'
import { type AwsRequest, type AwsResponse, operation, parameter } from '../aws/request.ts'
import type { TargetHealth } from './targets.ts'

/** A request on a connection that the component is closing would fail, and with it a change would be lost. */
const ownConnection = { connection: 'close' }

/**
 * Connects the emulated AWS with the component `load-balancers`: reports changes to it, and gives clients the health
 * that it has measured. The emulator itself reports every target as healthy.
 */
export class LoadBalancing {
  readonly #endpoint: string

  /** @param endpoint URL of the component. */
  constructor(endpoint: string) {
    this.#endpoint = endpoint
  }

  /** Completes the emulator's response to a request, of which `by` is the caller. */
  async complete(
    request: AwsRequest,
    { signature }: Pick<Authenticated, 'signature'>,
    response: AwsResponse,
  ): Promise<AwsResponse> {
    if (!/^(elasticloadbalancing|acm)$/.test(signature.service) || response.status >= 400) return response
    const name = operation(request) ?? ''
    if (name === 'DescribeTargetHealth') return this.#describeTargetHealth(request, response)
    if (!/^(Describe|Get|List)/.test(name)) {
      // The component reads the whole state when it starts, so a change that it misses is not lost.
      await fetch(`${this.#endpoint}/changes`, {
        method: 'POST',
        headers: ownConnection,
      }).catch(() => {})
    }
    return response
  }

  async #describeTargetHealth(request: AwsRequest, response: AwsResponse): Promise<AwsResponse> {
    const arn = parameter(request, 'TargetGroupArn') ?? ''
    const url = `${this.#endpoint}/target-groups/${encodeURIComponent(arn)}/health`
    const { targets } = (await (await fetch(url, { headers: ownConnection })).json()) as {
      targets: TargetHealth[]
    }
    const wanted = requestedTargets(request)
    const reported =
      wanted.length === 0
        ? targets
        : wanted.flatMap(({ id, port }) => {
            const found = targets.filter(
              (target) => target.id === id && (port ?? target.port) === target.port,
            )
            return found.length > 0 ? found : [unregistered(id, port ?? 0)]
          })
    return { ...response, body: Buffer.from(describeTargetHealthResponse(reported)) }
  }
}

function requestedTargets(request: AwsRequest): { id: string; port?: number }[] {
  const targets: { id: string; port?: number }[] = []
  while (true) {
    const member = `Targets.member.${targets.length + 1}`
    const id = parameter(request, `${member}.Id`)
    if (id === undefined) return targets
    const port = parameter(request, `${member}.Port`)
    targets.push(port === undefined ? { id } : { id, port: Number(port) })
  }
}

function unregistered(id: string, port: number): TargetHealth {
  return {
    id,
    port,
    healthCheckPort: port,
    state: 'unused',
    reason: 'Target.NotRegistered',
    description: 'Target is not registered to the target group',
  }
}

/** The response in the query protocol (API reference, DescribeTargetHealth). */
function describeTargetHealthResponse(targets: readonly TargetHealth[]): string {
  const members = targets.map(({ id, port, healthCheckPort, state, reason, description }) => {
    const optional = [
      ...(reason === undefined ? [] : [element('Reason', reason)]),
      ...(description === undefined ? [] : [element('Description', description)]),
    ].join('')
    return `<member><HealthCheckPort>${healthCheckPort}</HealthCheckPort><Target>${element('Id', id)}<Port>${port}</Port></Target><TargetHealth><State>${state}</State>${optional}</TargetHealth></member>`
  })
  return `<DescribeTargetHealthResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><DescribeTargetHealthResult><TargetHealthDescriptions>${members.join('')}</TargetHealthDescriptions></DescribeTargetHealthResult></DescribeTargetHealthResponse>`
}

function element(name: string, text: string): string {
  const escaped = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
  return `<${name}>${escaped}</${name}>`
}
