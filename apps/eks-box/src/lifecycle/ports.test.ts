import type { AddressInfo } from 'node:net'
import t from 'tap'
import { openPort } from './ports.ts'

t.test('a port is opened on loopback only', async (t) => {
  const server = await openPort(0, 'BOX_API_PORT')
  t.teardown(() => server.close())
  t.match(server.address(), { address: '127.0.0.1' })
})

t.test('a port in use is an error that names its holder and the variable to change', async (t) => {
  const holder = await openPort(0, 'BOX_API_PORT')
  t.teardown(() => holder.close())
  const { port } = holder.address() as AddressInfo
  await t.rejects(openPort(port, 'BOX_SERVICE_PORT'), {
    message: new RegExp(`^port ${port} of 127.0.0.1 is in use by .*\\(pid ${process.pid}\\)$`),
    nextStep: /BOX_SERVICE_PORT/,
  })
})

t.test('an invalid port is an error', async (t) => {
  await t.rejects(openPort(65536, 'BOX_API_PORT'), { message: /./ })
})
