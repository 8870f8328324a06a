import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { build } from '../testing/app.ts'

t.test('closing waits for answers, and not for requests that never arrive', async (t) => {
  const { app } = await build(t)
  const url = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const unfinished = connect(Number(url.port), url.hostname, () => unfinished.write('G'))
  const dropped = once(unfinished, 'close')
  // Longer than what arrives late is waited for.
  const answer = fetch(new URL('/api/v1/delay/2000', url))
  await once(app.server, 'request')
  app.startDraining()
  await app.close()
  t.equal((await answer).status, 200)
  await dropped
})
