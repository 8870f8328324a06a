import t from 'tap'
import { findPrograms, measure, measureMachine, readProcesses, usageBetween } from './processes.ts'

t.test('finds the descendants of a process by the name of their program', async (t) => {
  const processes = [
    { pid: 2, parent: 1, command: ['/tools/kube-apiserver', '--port=1'] },
    { pid: 10, parent: 1, command: ['unshare'] },
    { pid: 11, parent: 10, command: ['tini'] },
    { pid: 12, parent: 11, command: ['/tools/kube-apiserver', '--port=2'] },
    { pid: 13, parent: 11, command: ['etcd'] },
    { pid: 14, parent: 13, command: [] },
  ]
  t.strictSame(
    [...findPrograms(processes, 10, ['kube-apiserver', 'etcd'])],
    [
      ['kube-apiserver', 12],
      ['etcd', 13],
    ],
  )
})

t.test('reads this process', async (t) => {
  const self = readProcesses().find(({ pid }) => pid === process.pid)
  t.equal(self?.parent, process.ppid)
  const sample = measure(process.pid, 5)
  t.equal(sample?.time, 5)
  t.ok((sample?.cpuSeconds ?? 0) > 0)
  t.ok((sample?.memoryMiB ?? 0) > 10)
  t.ok(measureMachine().cpuSeconds >= (sample?.cpuSeconds ?? 0), 'the machine includes it')
  t.equal(measure(2 ** 22 + 1), undefined, 'no process has this id')
})

t.test('processor use on average and in the busiest five seconds', async (t) => {
  // Idle for ten seconds, then one and a half processors for ten seconds.
  const samples = Array.from({ length: 21 }, (_, second) => ({
    time: second * 1000,
    cpuSeconds: Math.max(0, second - 10) * 1.5,
    memoryMiB: 100 + second,
  }))
  t.strictSame(usageBetween(samples, 0, 20_000), {
    cpuSeconds: 15,
    averageCores: 0.75,
    peakCores: 1.5,
    peakMemoryMiB: 120,
  })
  t.match(usageBetween(samples, 0, 10_000), { cpuSeconds: 0, peakCores: 0, peakMemoryMiB: 110 })
  t.match(usageBetween(samples, 10_000, 12_000), { averageCores: 1.5, peakCores: 1.5 })
  t.match(usageBetween(samples, 3_000, 3_000), { averageCores: 0 }, 'one sample')
  t.equal(usageBetween(samples, 30_000, 40_000), undefined)
})
