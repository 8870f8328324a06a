/** What a token of `aws eks get-token` claims; its signature is for STS to judge. */
export interface TokenClaim {
  accessKeyId: string
  /** When it ends, in milliseconds since 1970. */
  expiresAt: number
}

const prefix = 'k8s-aws-v1.'

/**
 * How long EKS takes a token, in milliseconds (aws-iam-authenticator, token.go). The URL says 60 s and clients
 * keep a token for 14 minutes: STS takes any presigned URL for 15.
 */
const longestLife = 15 * 60_000

/** Clocks differ; STS allows this much, in milliseconds. */
const clockSkew = 5 * 60_000

/**
 * Reads a token: a presigned URL of STS GetCallerIdentity, whose signature covers the name of the cluster.
 *
 * The cluster's name is a header of the request that was signed, not part of the URL, so a token says only that
 * there is one; EKS and the box know it by the signature, which the emulated STS does not check. In the box it
 * is enough to know an access key id of the emulated account.
 *
 * @param hosts hosts of STS that are trusted.
 * @throws Error saying what is wrong with it.
 */
export function readToken(token: string, hosts: readonly string[], now = Date.now()): TokenClaim {
  if (!token.startsWith(prefix)) throw new Error(`it does not begin with ${prefix}`)
  const text = Buffer.from(token.slice(prefix.length), 'base64url').toString()
  const url = URL.parse(text)
  if (url === null) throw new Error('it holds no URL')
  if (!hosts.includes(url.host)) throw new Error(`${url.host} is no host of STS`)
  if (url.pathname !== '/') throw new Error(`${url.pathname} is not the path of GetCallerIdentity`)
  const query = new Map([...url.searchParams].map(([name, value]) => [name.toLowerCase(), value]))
  const parameter = (name: string) => {
    const value = query.get(name)
    if (value === undefined) throw new Error(`its URL has no ${name}`)
    return value
  }
  if (parameter('action') !== 'GetCallerIdentity') throw new Error('its URL asks for another action')
  if (!parameter('x-amz-signedheaders').split(';').includes('x-k8s-aws-id')) {
    throw new Error('its signature names no cluster')
  }
  parameter('x-amz-signature')
  const expires = Number(parameter('x-amz-expires'))
  if (!(expires >= 0 && expires * 1000 <= longestLife)) throw new Error('its URL expires too late')
  const [accessKeyId = ''] = parameter('x-amz-credential').split('/')
  const date = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(parameter('x-amz-date'))
  if (date === null) throw new Error('its date is none')
  const [, year, month, day, hour, minute, second] = date.map(Number)
  const signedAt = Date.UTC(year ?? 0, (month ?? 0) - 1, day, hour, minute, second)
  const expiresAt = signedAt + longestLife
  if (signedAt > now + clockSkew) throw new Error('it is from the future')
  if (expiresAt < now) throw new Error('it has expired')
  return { accessKeyId, expiresAt }
}
