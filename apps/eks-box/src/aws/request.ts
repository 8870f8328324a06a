import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'

/** An incoming request to AWS. */
export interface AwsRequest {
  method: string
  /** Path and query. */
  url: string
  headers: IncomingHttpHeaders
  body: Buffer
}

/** A response of AWS. */
export interface AwsResponse {
  status: number
  headers: OutgoingHttpHeaders
  body: Buffer
}

/** Whether the body is a form with the request's parameters (the query protocol of AWS). */
export function isForm({ headers }: Pick<AwsRequest, 'headers'>): boolean {
  return headers['content-type']?.startsWith('application/x-www-form-urlencoded') === true
}

/** The operation that a request names in its target header, query or form; undefined for REST services. */
export function operation(request: AwsRequest): string | undefined {
  const { url, headers, body } = request
  const target = headers['x-amz-target']
  if (typeof target === 'string') return target.split('.').at(-1)
  const query = new URLSearchParams(url.split('?')[1]).get('Action')
  if (query !== null) return query
  if (!isForm(request)) return undefined
  return new URLSearchParams(body.toString()).get('Action') ?? undefined
}

/** A parameter of a query protocol request. */
export function parameter({ url, body }: AwsRequest, name: string): string | undefined {
  const value = new URLSearchParams(url.split('?')[1]).get(name)
  return value ?? new URLSearchParams(body.toString()).get(name) ?? undefined
}

/**
 * A list of the query protocol: the items `<name>.1`, `<name>.2` and so on, each with its own parameters. An item that
 * is a text has it under the empty name.
 */
export function parameterList(parameters: URLSearchParams, name: string): URLSearchParams[] {
  const items: URLSearchParams[] = []
  while (true) {
    const prefix = `${name}.${items.length + 1}`
    const own = [...parameters].flatMap(([key, value]): [string, string][] =>
      key === prefix
        ? [['', value]]
        : key.startsWith(`${prefix}.`)
          ? [[key.slice(prefix.length + 1), value]]
          : [],
    )
    if (own.length === 0) return items
    items.push(new URLSearchParams(own))
  }
}
