import type { AwsRequest } from '../aws/request.ts'

const prefix = 'k8s-aws-v1.'

/**
 * How long EKS accepts a token, in milliseconds (aws-iam-authenticator, token.go). Although the URL says 60 s, STS
 * accepts any presigned URL for 15 minutes, and clients reuse a token for 14.
 */
export const TOKEN_LIFETIME = 15 * 60_000

/** The longest allowed X-Amz-Expires of a token's URL, in seconds (aws-iam-authenticator, token.go). */
const longestExpiry = 15 * 60

/**
 * Reads a token: a presigned URL of STS GetCallerIdentity, whose signature covers a header with the cluster's name. The
 * URL does not contain that header. The server adds its own cluster's name, so the signature of a token for another
 * cluster does not match.
 *
 * @param hosts trusted hosts of STS.
 * @param cluster name of this cluster.
 * @returns the request whose signature has to be verified.
 * @throws Error with the reason why the token is invalid.
 */
export function readToken(token: string, hosts: readonly string[], cluster: string): AwsRequest {
  if (!token.startsWith(prefix)) throw new Error(`the token does not start with ${prefix}`)
  const text = Buffer.from(token.slice(prefix.length), 'base64url').toString()
  const url = URL.parse(text)
  if (url === null) throw new Error('the token does not contain a URL')
  if (!hosts.includes(url.host)) throw new Error(`${url.host} is not a host of STS`)
  if (url.pathname !== '/') throw new Error(`${url.pathname} is not the path of GetCallerIdentity`)
  const parameter = (name: string) => {
    const [value, ...others] = url.searchParams.getAll(name)
    if (value === undefined) throw new Error(`the token's URL has no ${name}`)
    if (others.length > 0) throw new Error(`the token's URL has ${name} more than once`)
    return value
  }
  if (parameter('Action') !== 'GetCallerIdentity')
    throw new Error("the token's URL has another action than GetCallerIdentity")
  if (!/^[^/]+\/\d+\/[^/]+\/sts\//.test(parameter('X-Amz-Credential'))) {
    throw new Error('the token is signed for another service than STS')
  }
  if (!parameter('X-Amz-SignedHeaders').split(';').includes('x-k8s-aws-id')) {
    throw new Error("the token's signature does not cover a cluster name")
  }
  if (!(Number(parameter('X-Amz-Expires')) <= longestExpiry))
    throw new Error(`the token's URL must not be valid for more than ${longestExpiry} s`)
  return {
    method: 'GET',
    url: `${url.pathname}${url.search}`,
    headers: { host: url.host, 'x-k8s-aws-id': cluster },
    body: Buffer.alloc(0),
  }
}
