import t from 'tap'
import {
  creates,
  describePlan,
  isEmpty,
  type PlanDocument,
  planDigest,
  planMarkdown,
  summarize,
} from './plan.ts'
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

t.test('a plan is summarised by counts and by the addresses it replaces or destroys', async (t) => {
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

t.test('a plan without changes is empty', async (t) => {
  const quiet = summarize({ resource_changes: [change('aws_a.same', 'no-op')] })
  t.ok(isEmpty(quiet))
  t.equal(describePlan('cluster (dev)', quiet), 'cluster (dev): no changes')
  t.match(planMarkdown('cluster (dev)', quiet, 'abc', ''), /No changes\./)
})

t.test('a replacement creates a resource too', async (t) => {
  const cluster = (...actions: string[]) => ({
    resource_changes: [{ ...change('aws_eks_cluster.this', ...actions), type: 'aws_eks_cluster' }],
  })
  t.ok(creates(cluster('create'), 'aws_eks_cluster'))
  t.ok(creates(cluster('create', 'delete'), 'aws_eks_cluster'))
  t.notOk(creates(cluster('update'), 'aws_eks_cluster'))
  t.notOk(creates(cluster('create'), 'aws_vpc'))
})

t.test('a changed output is a change', async (t) => {
  t.notOk(isEmpty(summarize({ output_changes: { url: { actions: ['update'] } } })))
})

const text = `
Terraform will perform the following actions:

  # aws_a.edited will be updated in-place
  ~ resource "aws_a" "edited" {
      + colour   = "red"
      - size     = 3 -> null
      ~ password = (sensitive value)
    }
`

t.test('a pull request comment has the risks and the plan itself', async (t) => {
  const section = planMarkdown('cluster (prod)', summarize(busy), '0123456789abcdef', text)
  t.match(section, '### cluster (prod)')
  t.match(section, ':warning: **replace** `aws_a.replaced`')
  t.match(section, ':warning: **destroy** `aws_a.gone`')
  t.match(section, '<code>0123456789ab</code>')
  t.match(section, '\n```diff\nTerraform will')
  for (const line of [
    '!   resource "aws_a"',
    '+       colour ',
    '-       size ',
    '!       password = (sensitive value)',
  ]) {
    t.match(section, `\n${line}`)
  }
})

t.test('a plan cannot close its own code block', async (t) => {
  const section = planMarkdown('cluster (dev)', summarize(busy), 'abc', `+ a = "\`\`\`\`"\n# @everyone`)
  t.match(section, '\n`````diff\n')
  t.match(section, '\n`````\n\n</details>')
})

t.test('six long plans fit in one comment', async (t) => {
  const section = planMarkdown('cluster (dev)', summarize(busy), 'abc', '  + line\n'.repeat(50_000))
  t.ok(section.length * 6 < 65_536)
  t.match(section, /\.\.\. and \d+ more lines: the job's log shows the whole plan/)
})

const edited = (change: object): PlanDocument => ({
  resource_changes: [
    {
      address: 'aws_a.edited',
      mode: 'managed',
      change: { actions: ['update'], before: 1, after: 2, ...change },
    },
    { address: 'aws_a.same', mode: 'managed', change: { actions: ['no-op'], before: 1, after: 1 } },
  ],
})
const digest = (plan: PlanDocument) => planDigest('cluster (dev)', plan)

t.test('the digest identifies the changes of a plan', async (t) => {
  const approved = digest(edited({}))
  t.match(approved, /^[0-9a-f]{64}$/)
  t.equal(digest(edited({})), approved, 'the same plan again')
  t.not(digest(edited({ after: 3 })), approved, 'another value')
  t.not(digest(edited({ before: 0 })), approved, 'somebody changed the resource in the meantime')
  t.not(digest(edited({ actions: ['delete', 'create'] })), approved, 'a replacement')
  t.not(digest(edited({ after_unknown: true })), approved)
  t.not(digest({ ...edited({}), output_changes: { url: { actions: ['update'] } } }), approved, 'an output')
  t.not(planDigest('cluster (prod)', edited({})), approved, 'another environment')
  t.equal(digest({ ...edited({}), output_changes: { url: { actions: ['no-op'] } } }), approved)
})

t.test('an import is a change, even of a resource that stays as it is', async (t) => {
  const change = { actions: ['no-op'], before: 1, after: 1 }
  const plan = (more: object) => ({
    resource_changes: [{ address: 'aws_a.b', mode: 'managed', change: { ...change, ...more } }],
  })
  const importing = plan({ importing: { id: 'i' } })
  t.not(digest(importing), digest(plan({})))
  t.notOk(isEmpty(summarize(importing)))
  t.equal(
    describePlan('cluster (dev)', summarize(importing)),
    'cluster (dev): 1 to import, 0 to add, 0 to change, 0 to replace, 0 to destroy',
  )
})

t.test('sensitive values do not affect the digest', async (t) => {
  const secret = (password: string) =>
    digest(
      edited({
        after: { tags: ['a', password], password, name: 'x' },
        after_sensitive: { tags: [false, true], password: true },
      }),
    )
  t.equal(secret('one'), secret('two'))
  t.not(
    digest(edited({ after: { name: 'x' }, after_sensitive: {} })),
    digest(edited({ after: { name: 'y' }, after_sensitive: {} })),
  )
})

t.test('an error is formatted as one line: what, why and where', async (t) => {
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
