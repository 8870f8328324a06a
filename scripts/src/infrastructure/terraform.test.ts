import { chmodSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT, readEnvironment } from 'shared/environment'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { follow, OPTIONAL_STACKS, run, STACKS, type Stack } from './terraform.ts'

/** A stack for which a shell script stands in for Terraform. */
function stackWith(t: Test, terraform: string): Stack {
  const directory = t.testdir({ terraform: `#!/bin/sh\n${terraform}\n` })
  chmodSync(join(directory, 'terraform'), 0o755)
  return {
    name: 'cluster',
    environment: readEnvironment({ ENV: 'local' }),
    directory,
    dataDirectory: directory,
    variables: { PATH: `${directory}:${process.env['PATH']}` },
    options: [],
  }
}

t.test('each known error of Terraform has its own next step', async (t) => {
  for (const [error, nextStep] of [
    ['Error acquiring the state lock', /wait for the run that holds it/],
    ['creating IAM OIDC Provider: StatusCode: 409, EntityAlreadyExists: Unknown', /terraform import/],
    [
      'ResourceInUseException: The specified access entry is already in use on this cluster',
      /terraform import/,
    ],
    ['operation error STS: ExpiredToken', /sign in to AWS/],
    ['S3 bucket "states" does not exist.', /`make apply STACK=bootstrap ENV=local`/],
    ['unexpected', /most likely in infrastructure-hcl\/environments\/local\/cluster\.tfvars/],
  ] as const) {
    const stack = stackWith(t, `echo 'Error: ${error}' >&2\nexit 1`)
    await t.rejects(run(stack, ['plan']), { message: new RegExp(`terraform plan: ${error}`), nextStep })
  }
})

t.test('Ctrl-C ends a command, even if Terraform had just finished', async (t) => {
  // As in a terminal, where both get the signal.
  await t.rejects(
    follow(stackWith(t, 'kill -INT $PPID; exit 0'), ['plan'], () => {}),
    {
      message: 'cluster (local): interrupted; its state is saved',
      nextStep: /run the command again to continue/,
    },
  )
})

t.test('the workflows plan and deploy the stacks of `make apply`, in its order', async (t) => {
  const workflow = (name: string) =>
    readFileSync(join(REPOSITORY_ROOT, '.github', 'workflows', `${name}.yml`), 'utf8')
  const applied = STACKS.filter((name) => name !== 'bootstrap' && !OPTIONAL_STACKS.has(name))
  const planning = workflow('plan')
  t.strictSame(parse(planning).jobs.plan.strategy.matrix.stack, applied)
  t.match(planning, `{dev,staging,prod}-{${applied.join(',')}}`, 'the comment shows the plan of each')
  const deploying = parse(workflow('deploy')).jobs
  t.strictSame(
    Object.keys(deploying).filter((name) => deploying[name].with?.stack === name),
    applied,
  )
  for (const [index, name] of [...applied, 'push'].entries()) {
    t.equal(deploying[name].needs, applied[index - 1], `${name} waits for the stack before it`)
  }
})
