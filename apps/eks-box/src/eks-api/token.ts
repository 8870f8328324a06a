import type { AwsRequest } from '../aws/request.ts'

const prefix = 'k8s-aws-v1.'

/**
 * How long EKS takes a token, in milliseconds (aws-iam-authenticator, token.go). The URL says 60 s and clients
 * keep a token for 14 minutes: STS takes any presigned URL for 15.
 */
export const TOKEN_LIFETIME = 15 * 60_000

/** The longest time a token's URL may ask for, in seconds (aws-iam-authenticator, token.go). */
const longestExpiry = 15 * 60

/**
 * Reads a token: a presigned URL of STS GetCallerIdentity, whose signature covers the name of the cluster in a
 * header. The URL does not hold that header; whoever takes a token adds the name of its own cluster, so the
 * signature of a token for another cluster does not match.
 *
 * @param hosts hosts of STS that are trusted.
 * @param cluster name of this cluster.
 * @returns the request whose signature is to be verified.
 * @throws Error saying what is wrong with it.
 */
export function readToken(token: string, hosts: readonly string[], cluster: string): AwsRequest {
  if (!token.startsWith(prefix)) throw new Error(`it does not begin with ${prefix}`)
  const text = Buffer.from(token.slice(prefix.length), 'base64url').toString()
  const url = URL.parse(text)
  if (url === null) throw new Error('it holds no URL')
  if (!hosts.includes(url.host)) throw new Error(`${url.host} is not a host of STS`)
  if (url.pathname !== '/') throw new Error(`${url.pathname} is not the path of GetCallerIdentity`)
  const parameter = (name: string) => {
    const [value, ...others] = url.searchParams.getAll(name)
    if (value === undefined) throw new Error(`its URL has no ${name}`)
    if (others.length > 0) throw new Error(`its URL has ${name} twice`)
    return value
  }
  if (parameter('Action') !== 'GetCallerIdentity') throw new Error('its URL asks for another action')
  if (!/^[^/]+\/\d+\/[^/]+\/sts\//.test(parameter('X-Amz-Credential'))) {
    throw new Error('it is signed for another service')
  }
  if (!parameter('X-Amz-SignedHeaders').split(';').includes('x-k8s-aws-id')) {
    throw new Error('its signature names no cluster')
  }
  if (!(Number(parameter('X-Amz-Expires')) <= longestExpiry)) throw new Error('its URL expires too late')
  return {
    method: 'GET',
    url: `${url.pathname}${url.search}`,
    headers: { host: url.host, 'x-k8s-aws-id': cluster },
    body: Buffer.alloc(0),
  }
}
