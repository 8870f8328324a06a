import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { operatorKeyPath } from 'shared/box'
import { readEnvironment } from 'shared/environment'
import { CONTROLLERS, chartsDirectory, programPath } from 'shared/tools'
import t, { type Test } from 'tap'
import type { PlanDocument } from './plan.ts'
import { helmMark } from './releases.ts'
import { apply, plan, type Request } from './stack.ts'

/**
 * A box in which no stack is applied, with a Terraform that records its commands and always returns the same plan. It
 * fails for every command except those of a plan.
 */
function newBox(t: Test, plan: PlanDocument = {}) {
  const files = { 'plan.json': JSON.stringify(plan), 'terraform.log': '', 'summary.md': '' }
  const providers = { 'registry.terraform.io': { hashicorp: { helm: {} } } }
  const directory = t.testdir({ box: {}, modules: {}, providers, ...files })
  const at = (name: string) => join(directory, name)
  const mirrors = { TERRAFORM_MODULE_MIRROR: at('modules'), TERRAFORM_PROVIDER_MIRROR: at('providers') }
  const local = readEnvironment({ ENV: 'local', ...mirrors })
  const box = { ...local.box, stateDir: at('box'), cacheDir: at('cache') }
  writeFileSync(operatorKeyPath(box), JSON.stringify({ accessKeyId: 'id', secretAccessKey: 'secret' }))
  const writeProgram = (path: string, script: string) => {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  }
  const aws = programPath(box, 'aws')
  writeProgram(aws, 'exit 1')
  for (const controller of CONTROLLERS) mkdirSync(chartsDirectory(box, controller), { recursive: true })
  writeProgram(programPath(box, 'terraform-config-inspect'), 'echo \'{ "module_calls": {} }\'')
  // Terraform runs with the directory of the AWS CLI first on its PATH.
  const log = at('terraform.log')
  writeProgram(
    join(dirname(aws), 'terraform'),
    `echo "$1" >> '${log}'\ncase "$1" in init|plan) ;; show) cat '${at('plan.json')}' ;; *) exit 1 ;; esac`,
  )
  const request: Request = {
    environment: { ...local, box },
    stack: 'platform',
    summaryFile: at('summary.md'),
    planOptions: [],
  }
  const data = join(at('box'), 'terraform', 'infrastructure-hcl', 'platform', '.terraform', 'local')
  return {
    request,
    commands: () => readFileSync(log, 'utf8').split('\n').filter(Boolean),
    summary: () => readFileSync(at('summary.md'), 'utf8'),
    digest: () => readFileSync(join(data, 'plan.digest'), 'utf8'),
  }
}

t.test('without a cluster, a plan of the platform succeeds and says so', async (t) => {
  const { request, commands, summary, digest } = newBox(t)
  const output = t.capture(console, 'log')
  await plan(request)
  const reason = 'the cluster is not applied yet, so there is nothing to plan'
  t.strictSame(output.args(), [[`platform (local): ${reason}`]])
  t.strictSame(commands(), ['init'], 'Terraform plans nothing')
  t.equal(summary(), `### platform (local)\n\nNo plan: ${reason}.\n`)
  t.equal(digest(), '', 'there is nothing to approve')
})

t.test('without a cluster, an apply of the platform names the command that creates it', async (t) => {
  const { request, commands } = newBox(t)
  await t.rejects(apply(request), {
    message: 'platform (local): the cluster is not applied yet',
    nextStep: 'apply it first: `make apply ENV=local STACK=cluster`',
  })
  t.strictSame(commands(), [], 'Terraform is not run')
})

t.test('a cluster in the network of the stack needs that stack to be applied', async (t) => {
  const { request, commands } = newBox(t)
  const inStack: Request = {
    ...request,
    stack: 'cluster',
    environment: { ...request.environment, network: 'stack' },
  }
  const output = t.capture(console, 'log')
  await plan(inStack)
  t.strictSame(output.args(), [
    ['cluster (local): the network is not applied yet, so there is nothing to plan'],
  ])
  await t.rejects(apply(inStack), {
    message: 'cluster (local): the network is not applied yet',
    nextStep: /`make apply ENV=local STACK=network`; for an existing network, set network = "existing"/,
  })
  t.strictSame(commands(), ['init'], 'Terraform plans nothing')
})

t.test('with an existing network, no other one is planned or applied', async (t) => {
  const { request, commands } = newBox(t)
  const existing: Request = { ...request, stack: 'network' }
  const output = t.capture(console, 'log')
  await plan(existing)
  t.strictSame(output.args(), [
    ['network (local): the cluster uses an existing network, so there is nothing to plan'],
  ])
  await t.rejects(apply(existing), {
    message: 'network (local): the cluster uses an existing network',
    nextStep: /set network = "stack" in .*environments\/local\/cluster\.network\.tfvars, or NETWORK=stack/,
  })
  t.strictSame(commands(), ['init'], 'Terraform plans nothing')
})

t.test('where Helm installs the platform, its plan needs a cluster too', async (t) => {
  const { request, commands, summary } = newBox(t)
  const { box } = request.environment
  mkdirSync(dirname(helmMark(box)), { recursive: true })
  writeFileSync(helmMark(box), '')
  const output = t.capture(console, 'log')
  await plan(request)
  t.match(output.args(), [[/^platform \(local\): the cluster is not applied yet/]])
  t.match(summary(), /^### platform \(local\)\n\nNo plan: /)
  t.strictSame(commands(), [], 'Terraform is not run')
})

t.test('an apply refuses a plan that differs from the approved one, and changes nothing', async (t) => {
  const { request, commands } = newBox(t, {
    resource_changes: [
      {
        address: 'aws_ecr_repository.this',
        mode: 'managed',
        change: { actions: ['create'], after: { name: 'b' } },
      },
    ],
  })
  t.capture(console, 'log')
  const approved = 'a'.repeat(64)
  await t.rejects(apply({ ...request, stack: 'cluster', approvedDigest: approved }), {
    message: new RegExp(
      `^the plan of cluster \\(local\\) differs from the approved one: the digest was ${approved} and is now [0-9a-f]{64}; nothing was changed$`,
    ),
    nextStep: 'plan again, then review and approve the new plan',
  })
  t.strictSame(commands(), ['init', 'plan', 'show'])
})

t.test('an optional stack is planned only if STACK names it', async (t) => {
  const { request } = newBox(t)
  const { stack: _platform, ...withoutStack } = request
  const output = t.capture(console, 'log')
  await plan(withoutStack)
  t.match(output.args()[0], ['cluster (local): no changes'])
  t.notMatch(output.args().join('\n'), 'edge')
  await plan({ ...request, stack: 'edge' })
  t.match(output.args(), [['edge (local): no changes']])
})
