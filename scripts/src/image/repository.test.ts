import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Environment, readEnvironment } from 'shared/environment'
import t, { type Test } from 'tap'
import { imageRepository } from './repository.ts'

/** An environment with a box whose ECR gives `answer`. */
async function boxWithEcr(t: Test, status: number, answer: object): Promise<Environment> {
  const server = createServer((_, response) => {
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(answer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const environment = readEnvironment({ BOX_AWS_PORT: String(port) })
  const key = JSON.stringify({ accessKeyId: 'id', secretAccessKey: 'secret' })
  const stateDir = t.testdir({ 'aws-operator.json': key })
  return { ...environment, box: { ...environment.box, stateDir } }
}

t.test('images go to the repository that the cluster stack created', async (t) => {
  const repositoryUri = '123456789012.dkr.ecr.eu-central-1.amazonaws.com/fastify-app'
  const local = await boxWithEcr(t, 200, { repositories: [{ repositoryUri }] })
  t.equal(await imageRepository(local, {}), repositoryUri)
  const named = { IMAGE_REPOSITORY: 'host/app' }
  t.equal(await imageRepository(local, named), repositoryUri, 'the box has one registry')
})

t.test('outside the box, IMAGE_REPOSITORY names another', async (t) => {
  const env = { ENV: 'dev', IMAGE_REPOSITORY: 'host/app' }
  t.equal(await imageRepository(readEnvironment(env), env), 'host/app')
  const wrong = { ENV: 'dev', IMAGE_REPOSITORY: 'host/app:tag' }
  await t.rejects(imageRepository(readEnvironment(wrong), wrong), {
    message: /does not name an image repository/,
    nextStep: /without a tag/,
  })
})

t.test('a repository that does not exist yet is reported with the command that creates it', async (t) => {
  const local = await boxWithEcr(t, 400, { __type: 'RepositoryNotFoundException', message: 'none' })
  await t.rejects(imageRepository(local, {}), {
    message: 'local has no image repository yet',
    nextStep: /make apply ENV=local/,
  })
})

t.test('an ECR that refuses is not taken for one without the repository', async (t) => {
  const local = await boxWithEcr(t, 400, { __type: 'AccessDeniedException', message: 'not you' })
  await t.rejects(imageRepository(local, {}), {
    message: /where the images of local are: not you/,
    nextStep: /make status/,
  })
})

t.test('a cluster of the user needs to be told where its images are', async (t) => {
  const env = { KUBE_CONTEXT: 'kind' }
  await t.rejects(imageRepository(readEnvironment(env), env), {
    message: /needs to know/,
    nextStep: /IMAGE_REPOSITORY/,
  })
})
