import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { build } from '../testing/app.ts'

t.test('close waits for responses in progress, but not for incomplete requests', async (t) => {
  const { app } = await build(t)
  const url = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const unfinished = connect(Number(url.port), url.hostname, () => unfinished.write('G'))
  const dropped = once(unfinished, 'close')
  // Longer than the grace period for late arrivals.
  const answer = fetch(new URL('/api/v1/delay/2000', url))
  await once(app.server, 'request')
  app.startDraining()
  await app.close()
  t.equal((await answer).status, 200)
  await dropped
})
