import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import t from 'tap'
import { Emulator, isChange } from './emulator.ts'
import type { AwsRequest } from './request.ts'

const form = (action: string, headers = {}): AwsRequest => ({
  method: 'POST',
  url: '/',
  headers: { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8', ...headers },
  body: Buffer.from(`Action=${action}&Version=1`),
})
const target = (operation: string): AwsRequest => ({
  method: 'POST',
  url: '/',
  headers: { 'x-amz-target': `Service_1.${operation}` },
  body: Buffer.from('{}'),
})
const rest = (method: string): AwsRequest => ({
  method,
  url: '/bucket/key',
  headers: {},
  body: Buffer.alloc(0),
})

/**
 * A fake of the emulator: creates identifiers from a seeded number, keeps them in memory until it is reset, and records
 * the requests.
 */
async function fakeMoto(t: { teardown: (action: () => void) => void }) {
  const seen: string[] = []
  let made: number[] = []
  let random = 0
  const server = createServer(async (request, response) => {
    const body = (await (request as IncomingMessage).toArray()).join('')
    const url = request.url ?? ''
    if (url.startsWith('/moto-api/seed')) random = Number(url.split('=')[1])
    else if (url === '/moto-api/reset') made = []
    else {
      const action = new URLSearchParams(body).get('Action') ?? ''
      seen.push(action)
      if (action === 'CreateSlowly') await sleep(30)
      if (action.endsWith('Forever')) return
      if (action === 'CreateWrongly') response.statusCode = 400
      else if (action.startsWith('Create')) made.push(random * 100)
      // Reads draw random numbers as well.
      random += 1
      response.write(JSON.stringify(made))
    }
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { address: { host: '127.0.0.1', port: (server.address() as AddressInfo).port }, seen, server }
}

const notRoot = process.getuid?.() === 0 ? false : 'mounting a small file system needs root'

const nothing = () => {}
const text = async (answer: Promise<{ body: Buffer }>) => (await answer).body.toString()

t.test('requests that may change the account are distinguished from reads', async (t) => {
  for (const read of [
    form('DescribeVpcs'),
    target('ListKeys'),
    form('GetCallerIdentity'),
    rest('GET'),
    rest('HEAD'),
  ]) {
    t.notOk(isChange(read))
  }
  for (const change of [
    form('CreateVpc'),
    target('TagResource'),
    form('AssumeRole'),
    rest('PUT'),
    rest('DELETE'),
  ]) {
    t.ok(isChange(change))
  }
  t.ok(isChange({ ...form(''), body: Buffer.from('garbage') }), 'a request without an operation')
})

t.test('replaying the journal creates the same account', async (t) => {
  const journal = join(t.testdir(), 'journal.jsonl')
  const first = await fakeMoto(t)
  const before = new Emulator(first.address, journal)
  await before.restore(nothing)
  await before.forward(form('CreateVpc'))
  await before.forward(form('DescribeVpcs'))
  await before.forward(form('CreateSubnet'))
  const account = await text(before.forward(form('DescribeSubnets')))
  t.equal(account, '[100,200]', 'reads between changes have no influence')

  const second = await fakeMoto(t)
  const after = new Emulator(second.address, journal)
  await after.restore(nothing)
  t.strictSame(second.seen.slice(1), ['CreateVpc', 'CreateSubnet'], 'only changes are replayed')
  t.equal(await text(after.forward(form('DescribeSubnets'))), account)
  await after.forward(form('CreateVpc'))
  t.equal(await text(after.forward(form('DescribeVpcs'))), '[100,200,300]', 'new changes continue from there')
})

t.test('a change that cannot be written to the journal fails and is undone', { skip: notRoot }, async (t) => {
  const disk = t.testdir()
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'eks-box-test', disk])
  const emulator = new Emulator((await fakeMoto(t)).address, join(disk, 'journal.jsonl'))
  const large = form('CreateVpc', { note: 'x'.repeat(12_000) })
  try {
    await emulator.restore(nothing)
    await emulator.forward(form('CreateVpc'))
    await emulator.forward(large)
    await t.rejects(emulator.forward(large), { code: 'ENOSPC' })
    t.equal(await text(emulator.forward(form('DescribeVpcs'))), '[100,200]')
  } finally {
    await execa('umount', [disk])
  }
})

t.test('a change that the emulator rejected is not replayed', async (t) => {
  const journal = join(t.testdir(), 'journal.jsonl')
  const moto = await fakeMoto(t)
  const emulator = new Emulator(moto.address, journal)
  await emulator.restore(nothing)
  t.equal((await emulator.forward(form('CreateWrongly'))).status, 400)
  await new Emulator(moto.address, journal).restore(nothing)
  t.notOk(moto.seen.slice(moto.seen.indexOf('CreateWrongly') + 1).includes('CreateWrongly'))
})

t.test('changes run one at a time, and reads wait for them', async (t) => {
  const emulator = new Emulator((await fakeMoto(t)).address, join(t.testdir(), 'journal.jsonl'))
  await emulator.restore(nothing)
  const responses = await Promise.all([
    text(emulator.forward(form('CreateSlowly'))),
    text(emulator.forward(form('CreateVpc'))),
    text(emulator.forward(form('DescribeVpcs'))),
  ])
  t.strictSame(responses, ['[100]', '[100,200]', '[100,200]'])
})

t.test('messages are not replayed', async (t) => {
  const journal = join(t.testdir(), 'journal.jsonl')
  const moto = await fakeMoto(t)
  const emulator = new Emulator(moto.address, journal)
  await emulator.restore(nothing)
  await emulator.forward(form('CreateQueue'))
  for (const action of ['SendMessage', 'ReceiveMessage', 'DeleteMessage'])
    await emulator.forward(form(action))
  await emulator.forward({ ...target('PutEvents') })
  t.equal(emulator.changes, 1)
  const before = moto.seen.length
  await new Emulator(moto.address, journal).restore(nothing)
  t.strictSame(moto.seen.slice(before), ['DescribeVpcs', 'CreateQueue'])
})

t.test('a client that waits for a message does not delay others', async (t) => {
  const moto = await fakeMoto(t)
  const emulator = new Emulator(moto.address, join(t.testdir(), 'journal.jsonl'))
  await emulator.restore(nothing)
  const receive = { ...form('ReceiveMessage'), body: Buffer.from('Action=ReceiveMessage&WaitTimeSeconds=1') }
  const received = emulator.forward(receive)
  t.equal(await text(emulator.forward(form('CreateVpc'))), '[100]')
  await received
  t.ok(moto.seen.filter((action) => action === 'ReceiveMessage').length > 1, 'it asks more than once')
})

t.test('the end of the emulator is reported', async (t) => {
  const moto = await fakeMoto(t)
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  await new Emulator(moto.address, join(t.testdir(), 'journal.jsonl')).restore(resolve)
  moto.server.closeAllConnections()
  await ended
  t.pass('onEnd was called')
})

t.test(
  'a request to a hanging emulator fails, and a change also reports the end of the emulator',
  async (t) => {
    const moto = await fakeMoto(t)
    let ends = 0
    const emulator = new Emulator(moto.address, join(t.testdir(), 'journal.jsonl'), { response: 3000 })
    await emulator.restore(() => {
      ends++
    })
    await t.rejects(emulator.forward(form('DescribeForever')), {
      message: 'the emulator did not respond within 3 s',
    })
    t.equal(ends, 0, 'a read can be retried')
    await t.rejects(emulator.forward(form('CreateForever')), { message: /did not respond/ })
    t.equal(ends, 1, 'it is unknown whether the change was made')
  },
)
