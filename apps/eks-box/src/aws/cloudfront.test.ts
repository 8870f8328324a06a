import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CloudFront } from './cloudfront.ts'

const ROOT = '/2020-05-31'
const arnOf = (type: string, id: string) => `arn:aws:cloudfront::123456789012:${type}/${id}`

function client(cloudFront: CloudFront) {
  return async (method: string, url: string, body = '', etag?: string) => {
    const headers = etag === undefined ? {} : { 'if-match': etag }
    const response = await cloudFront.respond({
      method,
      url: `${ROOT}${url}`,
      headers,
      body: Buffer.from(body),
    })
    const text = response?.body.toString() ?? ''
    return {
      status: response?.status,
      text,
      etag: String(response?.headers['etag']),
      id: /<Id>(.*?)<\/Id>/.exec(text)?.[1] ?? '',
      code: /<Code>(.*?)<\/Code>/.exec(text)?.[1],
    }
  }
}

const endpoint = '<Name>shop</Name><Arn>arn:lb</Arn><HTTPPort>80</HTTPPort>'
const newOrigin = `<CreateVpcOriginRequest xmlns="x"><VpcOriginEndpointConfig>${endpoint}</VpcOriginEndpointConfig><Tags><Items><Tag><Key>team</Key><Value>a &amp; b</Value></Tag></Items></Tags></CreateVpcOriginRequest>`
const distributionOf = (origin: string, enabled: boolean) =>
  `<DistributionConfig xmlns="x"><Origins><Items><Origin><OriginShield><Enabled>${!enabled}</Enabled></OriginShield><VpcOriginConfig><VpcOriginId>${origin}</VpcOriginId></VpcOriginConfig></Origin></Items></Origins><Enabled>${enabled}</Enabled></DistributionConfig>`
const withTags = (config: string) =>
  `<DistributionConfigWithTags>${config}<Tags><Items/></Tags></DistributionConfigWithTags>`

t.test('a configuration comes back as it was sent, also after a restart', async (t) => {
  const file = join(t.testdir(), 'aws', 'cloudfront.json')
  const send = client(new CloudFront(file))
  const origin = await send('POST', '/vpc-origin', newOrigin)
  t.equal(origin.status, 202)
  t.match(origin.text, '<Status>Deployed</Status>')
  t.match(origin.text, `<VpcOriginEndpointConfig>${endpoint}</VpcOriginEndpointConfig>`)
  const created = await send('POST', '/distribution?WithTags', withTags(distributionOf(origin.id, true)))
  t.equal(created.status, 201)
  t.match(created.text, '<OriginGroups><Quantity>0</Quantity></OriginGroups>', 'which the client may omit')
  const restarted = client(new CloudFront(file))
  const read = await restarted('GET', `/distribution/${created.id}`)
  t.equal(read.text, created.text)
  t.equal(read.etag, created.etag)
  t.match((await restarted('GET', `/distribution/${created.id}/config`)).text, /<DistributionConfig xmlns=/)
  t.match((await restarted('GET', '/distribution')).text, '<Quantity>1</Quantity>')
  t.ok(readFileSync(file, 'utf8').includes(created.id))
})

t.test('a change needs the present ETag', async (t) => {
  const send = client(new CloudFront(join(t.testdir(), 'cloudfront.json')))
  const { id, etag } = await send('POST', '/distribution?WithTags', withTags(distributionOf('vo_1', true)))
  const path = `/distribution/${id}/config`
  const changed = await send('PUT', path, distributionOf('vo_2', true), etag)
  t.match(changed.text, '<VpcOriginId>vo_2</VpcOriginId>')
  t.equal((await send('PUT', path, distributionOf('vo_3', true), etag)).code, 'PreconditionFailed')
  t.match((await send('GET', `/distribution/${id}`)).text, '<VpcOriginId>vo_2</VpcOriginId>')
})

t.test('as on AWS, only a disabled distribution and an unused VPC origin can be deleted', async (t) => {
  const send = client(new CloudFront(join(t.testdir(), 'cloudfront.json')))
  const origin = await send('POST', '/vpc-origin', newOrigin)
  const enabled = await send('POST', '/distribution?WithTags', withTags(distributionOf(origin.id, true)))
  const path = `/distribution/${enabled.id}`
  t.equal((await send('DELETE', path, '', enabled.etag)).code, 'DistributionNotDisabled')
  t.equal(
    (await send('DELETE', `/vpc-origin/${origin.id}`, '', origin.etag)).code,
    'CannotDeleteEntityWhileInUse',
  )
  const disabled = await send('PUT', `${path}/config`, distributionOf(origin.id, false), enabled.etag)
  t.equal((await send('DELETE', path, '', disabled.etag)).status, 204)
  t.equal((await send('DELETE', `/vpc-origin/${origin.id}`, '', origin.etag)).status, 202)
  t.equal((await send('GET', path)).code, 'NoSuchDistribution')
  t.equal((await send('GET', `/vpc-origin/${origin.id}`)).code, 'EntityNotFound')
})

t.test('tags can be read, set and removed', async (t) => {
  const send = client(new CloudFront(join(t.testdir(), 'cloudfront.json')))
  const { id } = await send('POST', '/vpc-origin', newOrigin)
  const resource = `Resource=${encodeURIComponent(arnOf('vpcorigin', id))}`
  t.match((await send('GET', `/tagging?${resource}`)).text, '<Key>team</Key><Value>a &#38; b</Value>')
  const more = '<Tags><Items><Tag><Key>stage</Key><Value>dev</Value></Tag></Items></Tags>'
  t.equal((await send('POST', `/tagging?Operation=Tag&${resource}`, more)).status, 204)
  const keys = '<TagKeys><Items><Key>team</Key></Items></TagKeys>'
  t.equal((await send('POST', `/tagging?Operation=Untag&${resource}`, keys)).status, 204)
  const { text } = await send('GET', `/tagging?${resource}`)
  t.match(text, '<Items><Tag><Key>stage</Key><Value>dev</Value></Tag></Items>')
})

t.test('everything else is left to the emulator', async (t) => {
  const cloudFront = new CloudFront(join(t.testdir(), 'cloudfront.json'))
  const request = { method: 'GET', url: `${ROOT}/key-group`, headers: {}, body: Buffer.from('') }
  t.equal(await cloudFront.respond(request), undefined)
})
