import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Environment, readEnvironment } from 'shared/environment'
import t, { type Test } from 'tap'
import { imageRepository } from './repository.ts'

/** An environment with a box whose ECR answers with `status` and `answer`. */
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
  t.equal(await imageRepository(local, undefined), repositoryUri)
  t.equal(await imageRepository(local, 'host/app'), repositoryUri, 'the box has only one registry')
})

t.test('outside the box, IMAGE_REPOSITORY replaces it', async (t) => {
  const dev = readEnvironment({ ENV: 'dev' })
  t.equal(await imageRepository(dev, 'host/app'), 'host/app')
  await t.rejects(imageRepository(dev, 'host/app:tag'), {
    message: /is not an image repository/,
    nextStep: /without a tag/,
  })
})

t.test('a repository that does not exist yet is reported with the command that creates it', async (t) => {
  const local = await boxWithEcr(t, 400, { __type: 'RepositoryNotFoundException', message: 'none' })
  await t.rejects(imageRepository(local, undefined), {
    message: 'local has no image repository yet',
    nextStep: /make apply ENV=local/,
  })
})

t.test('a refusal of ECR is an error', async (t) => {
  const local = await boxWithEcr(t, 400, { __type: 'AccessDeniedException', message: 'not you' })
  await t.rejects(imageRepository(local, undefined), {
    message: /repository of local cannot be looked up in ECR: not you/,
    nextStep: /make status/,
  })
})

t.test('a user’s own cluster needs IMAGE_REPOSITORY', async (t) => {
  await t.rejects(imageRepository(readEnvironment({ KUBE_CONTEXT: 'kind' }), undefined), {
    message: /needs an image repository/,
    nextStep: /IMAGE_REPOSITORY/,
  })
})
