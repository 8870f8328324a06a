import t from 'tap'
import type { Reason } from './aws-error.ts'
import type { AwsRequest } from './request.ts'
import { checkSignature, checkTime, readSignature, type Signature } from './signature.ts'
import { awsError, sign, signedRequest } from './testing.ts'

/** The signature of a request that has one. */
function read(request: AwsRequest): Signature {
  const signature = readSignature(request)
  if (signature === undefined) throw new TypeError('the request is unsigned')
  return signature
}

const get = (url: string, headers: Record<string, string>): AwsRequest => ({
  method: 'GET',
  url,
  headers,
  body: Buffer.alloc(0),
})

t.test("AWS's published examples verify with their key only", async (t) => {
  const s3Secret = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
  const examples: [name: string, secret: string, request: AwsRequest][] = [
    [
      'IAM User Guide, ListUsers',
      'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
      get('/?Action=ListUsers&Version=2010-05-08', {
        host: 'iam.amazonaws.com',
        'content-type': 'application/x-www-form-urlencoded; charset=utf-8',
        'x-amz-date': '20150830T123600Z',
        authorization:
          'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7',
      }),
    ],
    [
      'S3 API Reference, GET Object',
      s3Secret,
      get('/test.txt', {
        host: 'examplebucket.s3.amazonaws.com',
        range: 'bytes=0-9',
        'x-amz-content-sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
        'x-amz-date': '20130524T000000Z',
        authorization:
          'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
      }),
    ],
    [
      'S3 API Reference, presigned URL',
      s3Secret,
      get(
        '/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
        { host: 'examplebucket.s3.amazonaws.com' },
      ),
    ],
  ]
  for (const [name, secret, request] of examples) {
    await t.resolves(checkSignature(request, read(request), secret), name)
    await t.rejects(checkSignature(request, read(request), `${secret}x`), awsError('mismatch'), name)
  }
})

t.test('a change of any signed part is detected', async (t) => {
  const secret = 'secret'
  const request = await sign(
    {
      method: 'POST',
      url: '/tags/arn%3Aaws%3Aeks?tagKeys=a&tagKeys=b%20c',
      headers: { 'content-type': 'application/json' },
      body: Buffer.from('{"a":1}'),
    },
    { accessKeyId: 'AKIA', secretAccessKey: secret, service: 'eks' },
  )
  await t.resolves(checkSignature(request, read(request), secret))
  const changed: Partial<AwsRequest>[] = [
    { method: 'PUT' },
    { url: request.url.replace('eks', 'ec2') },
    { url: `${request.url}&tagKeys=d` },
    { headers: { ...request.headers, host: 'elsewhere' } },
    { headers: { ...request.headers, 'content-type': 'text/plain' } },
    { body: Buffer.from('{"a":2}') },
    { body: Buffer.alloc(0) },
  ]
  for (const change of changed) {
    const tampered = { ...request, ...change }
    await t.rejects(
      checkSignature(tampered, read(tampered), secret),
      { name: 'AwsError' },
      Object.keys(change).join(),
    )
  }
  const { host: _host, ...headers } = request.headers
  await t.rejects(checkSignature({ ...request, headers }, read(request), secret), awsError('mismatch'))
})

t.test('only S3 may leave its body out of the signature', async (t) => {
  const secret = 'secret'
  for (const statement of ['UNSIGNED-PAYLOAD', 'STREAMING-UNSIGNED-PAYLOAD-TRAILER']) {
    const signer = { service: 's3', secretAccessKey: secret, accessKeyId: 'AKIA' }
    const put = await sign(
      {
        method: 'PUT',
        url: '/bucket/a%20key',
        headers: { 'x-amz-content-sha256': statement },
        body: Buffer.from('data'),
      },
      signer,
    )
    await t.resolves(checkSignature(put, read(put), secret))
    const other = await sign(put, { ...signer, service: 'iam' })
    await t.rejects(checkSignature(other, read(other), secret), awsError('payload'))
  }
})

t.test('the allowed clock difference is 5 minutes, and 15 minutes for S3', (t) => {
  const minute = 60_000
  const signature = (service: string, lifetime?: number): Signature => ({
    accessKeyId: 'AKIA',
    region: 'eu-central-1',
    service,
    signedHeaders: ['host'],
    value: '0'.repeat(64),
    signedAt: 0,
    ...(lifetime === undefined ? {} : { lifetime }),
  })
  for (const [service, skew] of [
    ['iam', 5],
    ['s3', 15],
  ] as const) {
    t.doesNotThrow(() => checkTime(signature(service), undefined, skew * minute))
    t.doesNotThrow(() => checkTime(signature(service), undefined, -skew * minute))
    t.throws(() => checkTime(signature(service), undefined, skew * minute + 1000), awsError('skewed'))
    t.throws(() => checkTime(signature(service), undefined, -skew * minute - 1000), awsError('skewed'))
  }
  t.doesNotThrow(() => checkTime(signature('s3', minute), undefined, minute))
  t.throws(() => checkTime(signature('s3', minute), undefined, minute + 1), awsError('outdated'))
  t.doesNotThrow(() => checkTime(signature('sts', minute), 15 * minute, 14 * minute), 'overridden lifetime')
  t.throws(() => checkTime(signature('sts', minute), 15 * minute, 16 * minute), awsError('outdated'))
  t.end()
})

t.test('an unsupported or incomplete signature is rejected', async (t) => {
  const request = await signedRequest()
  const { authorization = '' } = request.headers
  const refused = (authorization: string, reason: Reason, headers: object = {}) =>
    t.throws(
      () => readSignature({ ...request, headers: { ...request.headers, authorization, ...headers } }),
      awsError(reason),
      authorization,
    )
  refused('garbage', 'unsupported')
  refused('AWS AKIA:signature', 'unsupported')
  refused('AWS4-HMAC-SHA256 garbage', 'incomplete')
  refused(authorization.replace(/Signature=.*/, ''), 'incomplete')
  refused(authorization.replace('aws4_request', 'aws5_request'), 'incomplete')
  refused(authorization.replace('host;', ''), 'mismatch')
  refused(authorization, 'incomplete', { 'x-amz-date': '20000101T000000Z' })
  refused(authorization, 'incomplete', { 'x-amz-date': 'today' })
  const { authorization: _authorization, ...unsigned } = request.headers
  t.equal(readSignature({ ...request, headers: unsigned }), undefined)
  const query = (text: string) => () => readSignature({ ...request, headers: unsigned, url: `/?${text}` })
  t.throws(query('X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256'), awsError('unsupported'))
  t.throws(query('X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=never'), awsError('incomplete'))
  t.throws(query('X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=60'), awsError('incomplete'))
})
