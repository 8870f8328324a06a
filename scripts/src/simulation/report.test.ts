import t from 'tap'
import {
  formatFleet,
  formatHour,
  formatMarkdown,
  formatMoment,
  formatReport,
  formatTable,
  type Report,
} from './report.ts'

const usage = { cpuSeconds: 12, averageCores: 0.5, peakCores: 1.25, peakMemoryMiB: 400.4 }
const groups = {
  type: 'c6g.xlarge',
  nodes: 2,
  usd: 7.4496,
  hoursWithoutRoom: 0,
  podHoursWithoutRoom: 0,
}
const report: Report = {
  startedAt: '2026-11-22T10:00:00.000Z',
  seconds: 433.3,
  size: { nodes: 2, pods: 20 },
  hourSeconds: 15,
  scaleUp: {
    createdSeconds: 1.2,
    boundSeconds: 7,
    runningSeconds: 8,
    batches: [{ kind: 'batch', pods: 20, nodes: 2, seconds: 0.4, second: 2 }],
    nodes: 2,
    fleet: { 'c6g.xlarge': 2 },
    usdPerHour: 0.3104,
  },
  settled: { isSettled: false, nodes: 2, fleet: { 'c6g.large': 2 }, usdPerHour: 0.1552 },
  day: {
    hours: [{ hour: 12, pods: 20, running: 20, readySeconds: 0.1, nodes: 2, usdPerHour: 0.3104 }],
    disruptions: [],
    usd: 5.5,
    settledUsd: 5.2,
    lowestUsd: 5,
    static: { peak: groups, average: { ...groups, usd: 7, hoursWithoutRoom: 3, podHoursWithoutRoom: 12 } },
  },
  scaleDown: { podsSeconds: 1, nodesSeconds: 25.5 },
  usage: { scaleUp: { etcd: usage }, day: { etcd: usage, kwok: usage } },
}

t.test('the result contains times, prices and usage', async (t) => {
  const text = formatReport(report).join('\n')
  for (const expected of [
    /20 pods, 2 nodes; 433 s in all/,
    /all pods running +\| 8\.0 s/,
    /pods running per second +\| 2\.5/,
    /1, computed in at most 0\.4 s each/,
    /static node group for the peak: 2 c6g\.xlarge +\| 7\.45 +\| -/,
    /static node group for the average \+ 30 %: 2 c6g\.xlarge +\| 7\.00 +\| 12 pod hours in 3 h/,
    /Karpenter, in compressed time +\| 5\.50/,
    /price per pod after consolidation +\| 5\.20/,
    /0\.16 USD\/h, still falling/,
    /etcd +\| 0\.50 \/ 1\.25 +\| 0\.50 \/ 1\.25 +\| 400 MiB/,
    /kwok +\| - +\| 0\.50 \/ 1\.25 +\| 400 MiB/,
    /last node after 25\.5 s/,
  ]) {
    t.match(text, expected)
  }
})

t.test('Markdown contains the day', async (t) => {
  const text = formatMarkdown(report)
  t.match(text, /^# Simulation of 20 pods on about 2 nodes/)
  t.match(text, /\| 12 +\| 20 +\| 2 +\| 0\.31 +\| 0\.1 s/)
})

t.test('progress lines', async (t) => {
  const nodes = new Map([
    ['c6g.large', 1],
    ['c6g.xlarge', 3],
  ])
  t.equal(formatFleet(nodes), '3 c6g.xlarge, 1 c6g.large')
  t.equal(formatFleet(new Map()), 'no nodes')
  t.match(
    formatMoment({ pods: 9, bound: 8, running: 7, nodes }, 0.5),
    / 9 pods +8 bound +7 running +4 nodes +0\.50 USD\/h/,
  )
  const hour = { hour: 3, pods: 9, running: 8, readySeconds: null, nodes: 4, usdPerHour: 0.5 }
  t.match(formatHour(hour), /3h +9 pods +4 nodes +0\.50 USD\/h {2}only 8 ran/)
})

t.test('the columns of a table are aligned', async (t) => {
  t.strictSame(formatTable(['name', ''], [['a', 'long value']]), [
    '| name |            |',
    '|------|------------|',
    '| a    | long value |',
  ])
})
