import type { AddressInfo } from 'node:net'
import { createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { Probe } from '../components/component.ts'
import { runProbe } from './probe.ts'

/** A probe that sends PING and expects +PONG, and a server for it that handles each connection with `serve`. */
async function ping(t: Test, serve: (socket: Socket) => void): Promise<Probe> {
  const server = createServer((socket) => serve(socket.on('error', () => {}))).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return { kind: 'tcp', host: '127.0.0.1', port, send: 'PING\r\n', expect: '+PONG' }
}

t.test('the expected response passes, even when it arrives in several packets', async (t) => {
  const probe = await ping(t, (socket) => {
    socket.once('data', (received) => {
      t.equal(String(received), 'PING\r\n')
      socket.write('+P', () => setImmediate(() => socket.write('ONG\r\n')))
    })
  })
  t.equal(await runProbe(probe), undefined)
})

t.test('an unexpected response is reported', async (t) => {
  const probe = await ping(t, (socket) => socket.end('-LOADING the dataset\r\n'))
  t.match(await runProbe(probe), /^127\.0\.0\.1:\d+ responded with -LOADING the dataset$/)
})

t.test('a server that closes the connection is reported', async (t) => {
  const probe = await ping(t, (socket) => socket.end())
  t.match(await runProbe(probe), /^127\.0\.0\.1:\d+ closed the connection$/)
})

t.test('a probe without a response times out', async (t) => {
  const probe = await ping(t, (socket) => t.teardown(() => socket.destroy()))
  t.match(await runProbe(probe), /: no response within 2 s$/)
})

t.test('a refused connection is reported', async (t) => {
  // Nothing listens on port 9, "discard".
  t.match(await runProbe({ kind: 'tcp', host: '127.0.0.1', port: 9, send: '', expect: '' }), /ECONNREFUSED/)
})

t.test('a failed command is reported with the last line of its output', async (t) => {
  t.equal(await runProbe({ kind: 'command', command: ['true'] }), undefined)
  t.equal(await runProbe({ kind: 'command', command: ['sh', '-c', 'echo first; echo last; exit 2'] }), 'last')
})
