import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { KubeConfig } from '@kubernetes/client-node'
import t, { type Test } from 'tap'
import { followPodLog } from './pod-log.ts'
import { kubeconfig } from './test-servers.ts'

/** Follows a log as `answer` sends it, until it ends. Without patience for silence. */
async function follow(
  t: Test,
  answer: (response: ServerResponse) => void,
  signal = new AbortController().signal,
  onLine = (_line: string) => {},
  protocol = 'http',
) {
  const server = createServer((_request, response) => answer(response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const config = new KubeConfig()
  config.loadFromString(kubeconfig(`${protocol}://127.0.0.1:${(server.address() as AddressInfo).port}`))
  const lines: string[] = []
  await followPodLog(
    config,
    'shop',
    'pod',
    signal,
    (line) => {
      lines.push(line)
      onLine(line)
    },
    300,
  )
  return lines
}

t.test('lines are whole, however they arrive', async (t) => {
  const lines = await follow(t, async (response) => {
    for (const chunk of ['one\ntw', 'o\nthr', 'ee\nfo']) {
      response.write(chunk)
      await sleep(20)
    }
    response.end()
  })
  t.strictSame(lines, ['one', 'two', 'three'], 'the first half of a line is none')
})

t.test('a lost or silent connection, and a refusal, are errors', async (t) => {
  const lost = (response: ServerResponse) => response.write('one\n', () => response.destroy())
  await t.rejects(follow(t, lost), { code: 'ECONNRESET' })
  await t.rejects(
    follow(t, (response) => response.destroy()),
    { code: 'ECONNRESET' },
  )
  await t.rejects(
    follow(t, (response) => response.write('one\n')),
    { message: 'the log was silent for 0.3 s' },
  )
  await t.rejects(
    follow(t, (response) => response.writeHead(403).end()),
    { message: 'Forbidden' },
  )
})

t.test('an API with TLS is asked with TLS', async (t) => {
  const plain = follow(t, () => {}, undefined, undefined, 'https')
  await t.rejects(plain, { code: 'EPROTO' })
})

t.test('an error while a line is read ends the connection', async (t) => {
  const closed = Promise.withResolvers<void>()
  const answer = (response: ServerResponse) => {
    response.on('close', closed.resolve)
    response.write('one\n')
  }
  const failing = () => {
    throw new RangeError('no such line')
  }
  await t.rejects(follow(t, answer, undefined, failing), { message: 'no such line' })
  await closed.promise
})

t.test('an abort ends it', async (t) => {
  const stop = new AbortController()
  t.strictSame(
    await follow(
      t,
      (response) => response.write('one\n'),
      stop.signal,
      () => stop.abort(),
    ),
    ['one'],
  )
  t.strictSame(await follow(t, (response) => response.write('one\n'), AbortSignal.abort()), [])
})
