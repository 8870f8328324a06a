import t from 'tap'
import { describePlan, isEmpty, planMarkdown, summarize } from './plan.ts'
import { describe } from './terraform.ts'

const change = (address: string, ...actions: string[]) => ({ address, mode: 'managed', change: { actions } })

const busy = {
  resource_changes: [
    change('aws_a.new', 'create'),
    change('aws_a.same', 'no-op'),
    change('aws_a.edited', 'update'),
    change('aws_a.gone', 'delete'),
    change('aws_a.replaced', 'delete', 'create'),
    change('aws_a.replaced_first', 'create', 'delete'),
    { address: 'data.aws_b.read', mode: 'data', change: { actions: ['read'] } },
  ],
}

t.test('a plan is told in figures, and by name what it takes away', async (t) => {
  t.equal(
    describePlan('cluster (dev)', summarize(busy)),
    [
      'cluster (dev): 1 to add, 1 to change, 2 to replace, 1 to destroy',
      '  replace  aws_a.replaced',
      '  replace  aws_a.replaced_first',
      '  destroy  aws_a.gone',
    ].join('\n'),
  )
})

t.test('a plan that only reads and keeps is empty', async (t) => {
  const quiet = summarize({ resource_changes: [change('aws_a.same', 'no-op')] })
  t.ok(isEmpty(quiet))
  t.equal(describePlan('cluster (dev)', quiet), 'cluster (dev): no changes')
  t.match(planMarkdown('cluster (dev)', quiet), /No changes\./)
})

t.test('a changed output alone is a change too', async (t) => {
  t.notOk(isEmpty(summarize({ output_changes: { url: { actions: ['update'] } } })))
})

t.test('in a pull request the risks stand out', async (t) => {
  const text = planMarkdown('cluster (prod)', summarize(busy))
  t.match(text, '### cluster (prod)')
  t.match(text, ':warning: **replace** `aws_a.replaced`')
  t.match(text, ':warning: **destroy** `aws_a.gone`')
})

t.test('an error is one line: what, why and where', async (t) => {
  t.equal(
    describe({
      severity: 'error',
      summary: 'Invalid value for variable',
      detail: 'vpc_id must be\nan id.\n\nThis was checked by the validation rule at variables.tf:3,3-13.',
      range: { filename: 'variables.tf', start: { line: 3 } },
    }),
    'vpc_id must be an id. (variables.tf:3)',
  )
  t.equal(
    describe({
      severity: 'error',
      summary: 'no matching EC2 Subnet found',
      detail: '',
      address: 'data.aws_subnet.private["subnet-1"]',
    }),
    'no matching EC2 Subnet found (data.aws_subnet.private["subnet-1"])',
  )
})
