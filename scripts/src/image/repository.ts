import { DescribeRepositoriesCommand } from '@aws-sdk/client-ecr'
import { ECR_REGISTRY } from 'shared/box'
import { type Environment, SERVICE } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { awsClients, needsCredentials, readRegion } from '../infrastructure/aws.ts'

/**
 * The image's repository: the one in ECR that the cluster stack created, or `IMAGE_REPOSITORY` for a cluster other than
 * the box. It is looked up in ECR, because CI's role for deployments may not read the state of the cluster stack.
 *
 * @param override - the value of `IMAGE_REPOSITORY`
 * @throws ActionableError when there is no repository, or the variable is invalid
 */
export async function imageRepository(
  environment: Environment,
  override: string | undefined,
): Promise<string> {
  const repository = environment.usesBox ? undefined : override
  if (repository) {
    if (/^[a-z0-9.-]+(:\d+)?(\/[a-z0-9._-]+)+$/.test(repository)) return repository
    throw new ActionableError(
      `IMAGE_REPOSITORY is "${repository}", which is not an image repository`,
      'use the form <registry host>/<path>, in lower case and without a tag',
    )
  }
  if (environment.name === 'local' && !environment.usesBox) {
    throw new ActionableError(
      'a cluster of your own (KUBE_CONTEXT) needs an image repository',
      `set IMAGE_REPOSITORY, for example IMAGE_REPOSITORY=${ECR_REGISTRY}/${SERVICE} with your account's number`,
    )
  }
  const created = await createdRepository(environment)
  if (created !== undefined) return created
  throw new ActionableError(
    `${environment.name} has no image repository yet`,
    `create it with \`make apply ENV=${environment.name}\`, or set IMAGE_REPOSITORY`,
  )
}

async function createdRepository(environment: Environment): Promise<string | undefined> {
  const { ecr } = awsClients(environment, await readRegion(environment, 'cluster.tfvars'))
  try {
    const answer = await ecr.send(new DescribeRepositoriesCommand({ repositoryNames: [SERVICE] }))
    return answer.repositories?.[0]?.repositoryUri
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause
    if (cause.name === 'RepositoryNotFoundException') return undefined
    if (cause.name === 'CredentialsProviderError') throw needsCredentials(environment, cause)
    throw new ActionableError(
      `the image repository of ${environment.name} cannot be looked up in ECR: ${cause.message}`,
      environment.usesBox
        ? 'see `make status`, and start the box with `make up`'
        : 'sign in to AWS (`aws sso login`, or AWS_PROFILE), or set IMAGE_REPOSITORY',
      { cause },
    )
  }
}
