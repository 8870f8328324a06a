import t from 'tap'
import { KarpenterLog, parseDuration } from './karpenter-log.ts'

t.test('two lines describe a batch', async (t) => {
  const log = new KarpenterLog()
  const lines = [
    { message: 'found provisionable pod(s)', Pods: 'simulation/a and 9 other(s)', duration: '1.25s' },
    { message: 'computed new nodeclaim(s) to fit pod(s)', nodeclaims: 3, pods: 10 },
  ]
  t.strictSame(
    lines.map((line) => log.read(JSON.stringify(line))),
    [undefined, { kind: 'batch', pods: 10, nodes: 3, seconds: 1.25 }],
  )
})

t.test('a disruption, with its reason', async (t) => {
  const line = {
    message: 'disrupting node(s)',
    command: 'Underutilized/5e0c: delete: nodepools=[simulation]: [kwok-1, kwok-2] (savings: $0.31)',
    'disrupted-node-count': 2,
    'replacement-node-count': 1,
  }
  t.strictSame(new KarpenterLog().read(JSON.stringify(line)), {
    kind: 'disruption',
    reason: 'Underutilized',
    removed: 2,
    replaced: 1,
  })
})

t.test('other lines', async (t) => {
  const log = new KarpenterLog()
  t.equal(log.read('panic: runtime error'), undefined)
  t.equal(log.read('{"message":"created nodeclaim"}'), undefined)
})

t.test('durations of Go', async (t) => {
  t.equal(parseDuration('1m2.5s'), 62.5)
  t.equal(parseDuration('850ms').toFixed(3), '0.850')
  t.equal(parseDuration('1h0m1s'), 3601)
  t.equal(parseDuration('12.5µs').toFixed(7), '0.0000125')
  t.equal(parseDuration(''), 0)
})
