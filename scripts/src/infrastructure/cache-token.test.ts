import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { clientsFor } from './aws.ts'
import { setCacheToken, TOKEN_TAG } from './cache-token.ts'

const arn = 'arn:aws:elasticache:eu-central-1:123456789012:replicationgroup:shop'
const url = 'rediss://:a-token-of-the-cache@cache.example:6379'

/** ElastiCache with a replication group, and Secrets Manager with the service's secret. Records the changes. */
async function startAws(t: Test, { REDIS_URL = url, tagged = '' } = {}) {
  const changes: string[] = []
  const server = createServer(async (request, response) => {
    const body = (await request.toArray()).join('')
    if (request.headers['x-amz-target'] !== undefined) {
      const SecretString = JSON.stringify({ REDIS_URL })
      response.end(JSON.stringify({ SecretString, VersionId: 'version-2' }))
      return
    }
    const input = new URLSearchParams(body)
    const name = input.get('Action') ?? ''
    if (name === 'ModifyReplicationGroup') {
      changes.push(`${input.get('AuthTokenUpdateStrategy')} ${input.get('AuthToken')}`)
    }
    if (name === 'AddTagsToResource') changes.push(`tag ${input.get('Tags.Tag.1.Value')}`)
    const results: Record<string, string> = {
      DescribeReplicationGroups: `<ReplicationGroups><ReplicationGroup><ARN>${arn}</ARN><Status>available</Status></ReplicationGroup></ReplicationGroups>`,
      ListTagsForResource: `<TagList>${tagged === '' ? '' : `<Tag><Key>${TOKEN_TAG}</Key><Value>${tagged}</Value></Tag>`}</TagList>`,
    }
    response.setHeader('content-type', 'text/xml')
    response.end(`<${name}Response><${name}Result>${results[name] ?? ''}</${name}Result></${name}Response>`)
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const clients = clientsFor({
    region: 'eu-central-1',
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
  })
  t.teardown(() => {
    for (const client of Object.values(clients)) client.destroy()
    server.closeAllConnections()
    server.close()
  })
  return { changes, set: () => setCacheToken(clients, 'shop', 'shop/fastify-app', () => {}) }
}

t.test('a new cache gets the token of the secret, and then needs it', async (t) => {
  const { changes, set } = await startAws(t)
  await set()
  t.strictSame(changes, ['ROTATE a-token-of-the-cache', 'SET a-token-of-the-cache', 'tag version-2'])
})

t.test('a rotation keeps the former token', async (t) => {
  const { changes, set } = await startAws(t, { tagged: 'version-1' })
  await set()
  t.strictSame(changes, ['ROTATE a-token-of-the-cache', 'tag version-2'])
})

t.test('a cache with the token of the present version is not changed', async (t) => {
  const { changes, set } = await startAws(t, { tagged: 'version-2' })
  await set()
  t.strictSame(changes, [])
})

t.test('a secret without a token is an error that does not quote it', async (t) => {
  const { set } = await startAws(t, { REDIS_URL: 'rediss://secret.example' })
  await t.rejects(set(), {
    message: 'the secret shop/fastify-app contains no REDIS_URL with a password',
    nextStep: /increase credentials_version/,
  })
})
