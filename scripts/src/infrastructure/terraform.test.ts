import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { readEnvironment } from 'shared/environment'
import t from 'tap'
import { run, type Stack } from './terraform.ts'

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
    const directory = t.testdir({ terraform: `#!/bin/sh\necho 'Error: ${error}' >&2\nexit 1\n` })
    chmodSync(join(directory, 'terraform'), 0o755)
    const stack: Stack = {
      name: 'cluster',
      environment: readEnvironment({ ENV: 'local' }),
      directory,
      dataDirectory: directory,
      variables: { PATH: `${directory}:${process.env['PATH']}` },
      options: [],
    }
    await t.rejects(run(stack, ['plan']), { message: new RegExp(`terraform plan: ${error}`), nextStep })
  }
})
