import t from 'tap'
import { buildManagement } from './management.ts'
import { build } from './testing/app.ts'

t.test('metrics are served only on the management port', async (t) => {
  const { app } = await build(t)
  const management = buildManagement(app)
  const response = await management.inject('/metrics')
  t.equal(response.statusCode, 200)
  t.match(response.headers['content-type'], /^text\/plain/)
  t.match(response.body, /^process_cpu_seconds_total /m)
  t.equal((await app.inject('/metrics')).statusCode, 404)
  t.equal((await management.inject('/api/v1/tasks')).statusCode, 404)
})
