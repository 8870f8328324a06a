import t from 'tap'
import { readToken } from './token.ts'

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

/** A token like that of `aws eks get-token`, with changes to its query. */
function token(changed: object = {}, base = 'https://sts.eu-central-1.amazonaws.com/'): string {
  const url = `${base}?${new URLSearchParams({ ...query, ...changed })}`
  return `k8s-aws-v1.${Buffer.from(url).toString('base64url')}`
}

t.test('a token becomes a request to STS, with the name of this cluster in a header', (t) => {
  t.match(readToken(token(), hosts, 'here'), {
    method: 'GET',
    url: /^\/\?Action=GetCallerIdentity&.*X-Amz-Signature=abc$/,
    headers: { host: 'sts.eu-central-1.amazonaws.com', 'x-k8s-aws-id': 'here' },
  })
  t.match(readToken(token({}, 'http://127.0.0.1:4566/'), hosts, 'here').headers, { host: '127.0.0.1:4566' })
  t.end()
})

t.test('an invalid token is refused with the reason', (t) => {
  const without = (name: keyof typeof query) => {
    const { [name]: _name, ...rest } = query
    const url = `https://sts.eu-central-1.amazonaws.com/?${new URLSearchParams(rest)}`
    return `k8s-aws-v1.${Buffer.from(url).toString('base64url')}`
  }
  const twice = `https://sts.eu-central-1.amazonaws.com/?${new URLSearchParams(query)}&Action=AssumeRole`
  for (const [refused, message] of [
    ['eyJhbGciOiJSUzI1NiJ9', /does not start with k8s-aws-v1/],
    ['k8s-aws-v1.aGVsbG8', /not contain a URL/],
    [token({}, 'https://sts.eu-central-1.amazonaws.com.evil.example/'), /not a host of STS/],
    [token({}, 'https://sts.us-east-1.amazonaws.com/'), /not a host of STS/],
    [token({}, 'https://sts.eu-central-1.amazonaws.com/other'), /not the path/],
    [token({ Action: 'AssumeRole' }), /another action/],
    [`k8s-aws-v1.${Buffer.from(twice).toString('base64url')}`, /Action more than once/],
    [token({ 'X-Amz-Credential': 'AKIA/20260131/eu-central-1/s3/aws4_request' }), /another service/],
    [token({ 'X-Amz-SignedHeaders': 'host' }), /does not cover a cluster name/],
    [token({ 'X-Amz-Expires': '901' }), /must not be valid for more than 900 s/],
    [token({ 'X-Amz-Expires': 'never' }), /must not be valid for more than 900 s/],
    [without('X-Amz-Credential'), /no X-Amz-Credential/],
    [without('X-Amz-Expires'), /no X-Amz-Expires/],
  ] as const) {
    t.throws(() => readToken(refused, hosts, 'here'), { message })
  }
  t.end()
})
