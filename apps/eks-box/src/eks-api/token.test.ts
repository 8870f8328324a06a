import t from 'tap'
import { readToken } from './token.ts'

const signedAt = Date.UTC(2026, 0, 31, 12, 0, 0)
const minutes = (count: number) => count * 60_000
const hosts = ['sts.eu-central-1.amazonaws.com', '127.0.0.1:4566']
const query = {
  Action: 'GetCallerIdentity',
  Version: '2011-06-15',
  'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
  'X-Amz-Credential': 'AKIAOPERATOR/20260131/eu-central-1/sts/aws4_request',
  'X-Amz-Date': '20260131T120000Z',
  'X-Amz-Expires': '60',
  'X-Amz-SignedHeaders': 'host;x-k8s-aws-id',
  'X-Amz-Signature': 'abc',
}

/** A token as `aws eks get-token` makes it, with some of its query changed. */
function token(changed: object = {}, base = 'https://sts.eu-central-1.amazonaws.com/'): string {
  const url = `${base}?${new URLSearchParams({ ...query, ...changed })}`
  return `k8s-aws-v1.${Buffer.from(url).toString('base64url')}`
}

t.test('a token tells whose access key signed it, for a quarter of an hour', (t) => {
  const claim = { accessKeyId: 'AKIAOPERATOR', expiresAt: signedAt + minutes(15) }
  t.strictSame(readToken(token(), hosts, signedAt), claim)
  t.strictSame(readToken(token(), hosts, signedAt + minutes(14)), claim, 'clients keep it for 14 minutes')
  t.strictSame(readToken(token({}, 'http://127.0.0.1:4566/'), hosts, signedAt), claim)
  t.end()
})

t.test('whatever a token lacks is said', (t) => {
  const without = (name: keyof typeof query) => {
    const { [name]: _name, ...rest } = query
    const url = `https://sts.eu-central-1.amazonaws.com/?${new URLSearchParams(rest)}`
    return `k8s-aws-v1.${Buffer.from(url).toString('base64url')}`
  }
  for (const [refused, message] of [
    ['eyJhbGciOiJSUzI1NiJ9', /does not begin with k8s-aws-v1/],
    ['k8s-aws-v1.aGVsbG8', /no URL/],
    [token({}, 'https://sts.eu-central-1.amazonaws.com.evil.example/'), /no host of STS/],
    [token({}, 'https://sts.us-east-1.amazonaws.com/'), /no host of STS/],
    [token({}, 'https://sts.eu-central-1.amazonaws.com/other'), /not the path/],
    [token({ Action: 'AssumeRole' }), /another action/],
    [token({ 'X-Amz-SignedHeaders': 'host' }), /names no cluster/],
    [token({ 'X-Amz-Expires': '901' }), /expires too late/],
    [token({ 'X-Amz-Expires': 'never' }), /expires too late/],
    [token({ 'X-Amz-Date': 'today' }), /date is none/],
    [without('X-Amz-Credential'), /no x-amz-credential/],
    [without('X-Amz-Signature'), /no x-amz-signature/],
    [without('X-Amz-Expires'), /no x-amz-expires/],
  ] as const) {
    t.throws(() => readToken(refused, hosts, signedAt), { message })
  }
  t.end()
})

t.test('a token has its time', (t) => {
  t.throws(() => readToken(token(), hosts, signedAt + minutes(15) + 1), { message: 'it has expired' })
  t.throws(() => readToken(token(), hosts, signedAt - minutes(6)), { message: 'it is from the future' })
  t.doesNotThrow(() => readToken(token(), hosts, signedAt - minutes(4)), 'clocks differ')
  t.end()
})
