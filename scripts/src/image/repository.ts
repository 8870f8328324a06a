import { DescribeRepositoriesCommand } from '@aws-sdk/client-ecr'
import { ECR_REGISTRY } from 'shared/box'
import { type Environment, SERVICE } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { awsClients, clusterRegion } from '../infrastructure/aws.ts'

/**
 * The repository of the image, as pods refer to it and, outside the box, as it is pushed to: `IMAGE_REPOSITORY`, or the
 * one in ECR that the cluster stack created. ECR is asked directly, because Terraform would take several seconds.
 *
 * @throws ActionableError when there is none, or the variable does not name one.
 */
export async function imageRepository(environment: Environment, env: NodeJS.ProcessEnv): Promise<string> {
  const repository = environment.usesBox ? undefined : env['IMAGE_REPOSITORY']
  if (repository) {
    if (/^[a-z0-9.-]+(:\d+)?(\/[a-z0-9._-]+)+$/.test(repository)) return repository
    throw new ActionableError(
      `IMAGE_REPOSITORY is "${repository}", which does not name an image repository`,
      'give host and path without a tag, in lower case: <registry host>/fastify-app',
    )
  }
  if (environment.name === 'local' && !environment.usesBox) {
    throw new ActionableError(
      'ENV=local with KUBE_CONTEXT needs to know where its images are',
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
  const { ecr } = awsClients(environment, await clusterRegion(environment))
  try {
    const answer = await ecr.send(new DescribeRepositoriesCommand({ repositoryNames: [SERVICE] }))
    return answer.repositories?.[0]?.repositoryUri
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause
    if (cause.name === 'RepositoryNotFoundException') return undefined
    throw new ActionableError(
      `ECR does not say where the images of ${environment.name} are: ${cause.message}`,
      environment.usesBox
        ? 'see `make status`, and start the box with `make up`'
        : 'sign in to AWS (`aws sso login`, or AWS_PROFILE), or set IMAGE_REPOSITORY',
      { cause },
    )
  }
}
