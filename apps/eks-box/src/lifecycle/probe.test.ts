import type { AddressInfo } from 'node:net'
import { createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { Probe } from '../components/component.ts'
import { ask } from './probe.ts'

/** A probe that says PING and wants +PONG, of a server that treats each connection as told. */
async function ping(t: Test, treat: (socket: Socket) => void): Promise<Probe> {
  const server = createServer((socket) => treat(socket.on('error', () => {}))).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return { kind: 'tcp', host: '127.0.0.1', port, say: 'PING\r\n', hear: '+PONG' }
}

t.test('a server that gives the answer serves, however it is cut into packets', async (t) => {
  const probe = await ping(t, (socket) => {
    socket.once('data', (said) => {
      t.equal(String(said), 'PING\r\n')
      socket.write('+P', () => setImmediate(() => socket.write('ONG\r\n')))
    })
  })
  t.equal(await ask(probe), undefined)
})

t.test('another answer is told', async (t) => {
  const probe = await ping(t, (socket) => socket.end('-LOADING the dataset\r\n'))
  t.match(await ask(probe), /^127\.0\.0\.1:\d+ answers -LOADING the dataset$/)
})

t.test('a server that hangs up is told', async (t) => {
  const probe = await ping(t, (socket) => socket.end())
  t.match(await ask(probe), /^127\.0\.0\.1:\d+ hung up$/)
})

t.test('a server that says nothing is not waited for', async (t) => {
  const probe = await ping(t, (socket) => t.teardown(() => socket.destroy()))
  t.match(await ask(probe), /: no answer within 2 s$/)
})

t.test('a port where nobody listens is told', async (t) => {
  // Port 9 is "discard": nobody listens there.
  t.match(await ask({ kind: 'tcp', host: '127.0.0.1', port: 9, say: '', hear: '' }), /ECONNREFUSED/)
})

t.test('a command serves when it succeeds, else its last line is why', async (t) => {
  t.equal(await ask({ kind: 'command', command: ['true'] }), undefined)
  t.equal(await ask({ kind: 'command', command: ['sh', '-c', 'echo first; echo last; exit 2'] }), 'last')
})
