import { readFileSync } from 'node:fs'
import t from 'tap'
import { CONTRACT, contract, SERVICE_PAGE, withTables } from '../reference.ts'
import { build } from './testing/app.ts'

const remedy = 'run `npm run reference --workspace=fastify-api` and commit the result'

t.test('docs/openapi.json is the document that the service serves', async (t) => {
  t.equal(readFileSync(CONTRACT, 'utf8'), await contract(), remedy)
  const { app } = await build(t)
  t.same((await app.inject('/openapi.json')).json(), JSON.parse(await contract()))
})

t.test('docs/service.md lists every setting and every problem', async (t) => {
  const page = readFileSync(SERVICE_PAGE, 'utf8')
  t.match(page, /`DATABASE_URL`/)
  t.match(page, /\| `task-changed` \| 412 \|/)
  t.equal(page, withTables(page), remedy)
})

t.test('every operation has an id, a summary and one tag', async (t) => {
  const { paths } = JSON.parse(await contract()) as {
    paths: Record<string, Record<string, { operationId?: string; summary?: string; tags?: string[] }>>
  }
  const operations = Object.values(paths).flatMap((item) => Object.values(item))
  t.ok(operations.length > 10)
  for (const { operationId, summary, tags } of operations) {
    t.ok(operationId && summary && tags?.length === 1, `${operationId}`)
  }
  t.equal(new Set(operations.map(({ operationId }) => operationId)).size, operations.length)
})
