import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import t from 'tap'
import { parse } from 'yaml'
import { MEBIBYTES_PER_MILLI_CPU, readNumber, readSize, requestsOf } from './workload.ts'

t.test('NODES and PODS', async (t) => {
  t.strictSame(readSize({}), { nodes: 50, pods: 500 })
  t.strictSame(readSize({ NODES: '3' }), { nodes: 3, pods: 30 }, 'ten pods for each node')
  t.strictSame(readSize({ NODES: '1000', PODS: '10000' }), { nodes: 1000, pods: 10_000 })
  t.equal(readNumber({ HOUR: '' }, 'HOUR', 15, 3600), 15)
  for (const env of [
    { NODES: 'many' },
    { NODES: '0' },
    { PODS: '1.5' },
    { NODES: '10', PODS: '9' },
    { NODES: '10', PODS: '581' },
    { NODES: '6000' },
  ]) {
    t.throws(() => readSize(env), ActionableError, JSON.stringify(env))
  }
})

t.test('as many pods as a node has fill its processors', async (t) => {
  t.strictSame(requestsOf({ nodes: 1000, pods: 10_000 }), { milliCpu: 392, memoryMiB: 502 })
  t.strictSame(requestsOf({ nodes: 3, pods: 20 }), { milliCpu: 560, memoryMiB: 717 })
})

t.test('processor and memory have the proportion of the service’s requests', async (t) => {
  const values = parse(readFileSync(join(REPOSITORY_ROOT, 'helm', 'fastify-app', 'values.yaml'), 'utf8')) as {
    resources: { requests: { cpu: string; memory: string } }
  }
  const { cpu, memory } = values.resources.requests
  t.equal(
    Number.parseInt(memory, 10) / Number.parseInt(cpu, 10),
    MEBIBYTES_PER_MILLI_CPU,
    `${memory} and ${cpu}`,
  )
})
