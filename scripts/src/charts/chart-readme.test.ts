import { basename } from 'node:path'
import t from 'tap'
import { chartReadme, DOCUMENTED_CHARTS, withValues } from './chart-readme.ts'

const README = `# Chart

<!-- values: made by scripts/src/charts/chart-readme.ts -->
the previous table
<!-- end of values -->

The rest.
`

const SCHEMA = {
  properties: {
    replicas: { description: 'One | more.' },
    limits: { description: 'Its limits.', properties: { cpu: { $ref: '#/$defs/quantity' } } },
    requests: { $ref: '#/$defs/requests', description: 'Its requests.' },
    optional: { description: 'Has no default.' },
  },
  $defs: {
    quantity: { description: 'A quantity.' },
    requests: { description: 'The description of the definition.' },
  },
}

for (const chart of DOCUMENTED_CHARTS) {
  t.test(`the README of ${basename(chart)} is up to date`, async (t) => {
    const { current, expected } = chartReadme(chart)
    t.equal(current, expected, 'update it with `node scripts/src/charts/chart-readme.ts`')
  })
}

t.test('there is a row for each value with a default, named by its path', async (t) => {
  const readme = withValues(README, SCHEMA, { replicas: 2, limits: { cpu: '1' }, requests: [] })
  t.equal(
    readme,
    `# Chart

<!-- values: made by scripts/src/charts/chart-readme.ts -->
| value | default | meaning |
| --- | --- | --- |
| \`replicas\` | \`2\` | One \\| more. |
| \`limits.cpu\` | \`"1"\` | A quantity. |
| \`requests\` | \`[]\` | Its requests. |
<!-- end of values -->

The rest.
`,
  )
})

t.test('a value without a description, and a README without markers, are refused', async (t) => {
  t.throws(() => withValues(README, { properties: { size: {} } }, { size: 1 }), {
    message: 'size has no description',
  })
  t.throws(() => withValues('# Chart\n', SCHEMA, {}), { message: /^the README lacks <!-- values/ })
})
