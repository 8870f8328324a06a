import t from 'tap'
import { figureTable, median, replaceMeasured, type Throughput, throughputTable } from './report.ts'

/** A server whose requests take `cpuMicros` of CPU time. */
function row(name: string, cpuMicros: number): Throughput {
  return {
    name,
    requestsPerSecond: [30_000, 20_000, 40_000.4],
    p99Ms: [2, 1, 2],
    cpuMicros: [cpuMicros, cpuMicros, 99],
    busy: [0.98, 0.5, 0.99],
  }
}

const servers = {
  http: row('http', 10),
  bare: row('bare', 18),
  service: row('service', 20),
  podinfo: row('go', 30),
}

t.test('the median is the middle value, or the mean of the two in the middle', async (t) => {
  t.equal(median([9, 1, 2]), 2)
  t.equal(median([4, 1, 2, 9]), 3)
  t.throws(() => median([]), RangeError)
})

t.test('throughput: medians and ranges, and the service against each by CPU time', async (t) => {
  t.strictSame(throughputTable(servers).slice(2), [
    '| http | 30,000 | 20,000 to 40,000 | 2 | 98 % | 10.0 | 0.50 |  |',
    '| bare | 30,000 | 20,000 to 40,000 | 2 | 98 % | 18.0 | 0.90 | ≥ 0.75: met |',
    '| service | 30,000 | 20,000 to 40,000 | 2 | 98 % | 20.0 |  |  |',
    '| go | 30,000 | 20,000 to 40,000 | 2 | 98 % | 30.0 | 1.50 | ≥ 1.3: met |',
  ])
})

t.test('a missed target is marked as missed', async (t) => {
  const table = throughputTable({ ...servers, bare: row('bare', 14), podinfo: row('go', 25) }).join('\n')
  t.match(table, '0.70 | ≥ 0.75: missed')
  t.match(table, '1.25 | ≥ 1.3: missed')
})

t.test('figures: measured against their limit, or why they were not measured', async (t) => {
  t.strictSame(
    figureTable([
      { name: 'start', value: 350, unit: 'ms', limit: { most: 350, inclusive: true } },
      { name: 'memory', value: 256, unit: 'MiB', limit: { most: 256, inclusive: false } },
      { name: 'ready', value: 301.6, unit: 'ms' },
      { name: 'image', unit: 'MB', limit: { most: 60, inclusive: true }, note: 'push it first' },
      { name: 'pushed', value: 58.26, unit: 'MB' },
      { name: 'other', unit: 'MB' },
    ]).slice(2),
    [
      '| start | 350 ms | ≤ 350 ms: met |',
      '| memory | 256 MiB | < 256 MiB: missed |',
      '| ready | 302 ms |  |',
      '| image (push it first) | not measured | ≤ 60 MB |',
      '| pushed | 58.3 MB |  |',
      '| other | not measured |  |',
    ],
  )
})

t.test('the measurements replace the text between the markers, and nothing else', async (t) => {
  const start = '<!-- measured: written by make bench -->'
  const end = '<!-- end of measured -->'
  const page = (measured: string) => `# Page\n\n${start}\n${measured}\n${end}\n\nMore.\n`
  t.equal(replaceMeasured(page('old'), ['new', 'lines']), page('\nnew\nlines\n'))
  t.equal(replaceMeasured(page('\nnew\n'), ['new']), page('\nnew\n'), 'the same again')
  t.throws(() => replaceMeasured('# Page\n', []), /needs the lines/)
  t.throws(() => replaceMeasured(`${end}\n${start}\n`, []), /in this order/)
})
