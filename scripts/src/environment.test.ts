import { join } from 'node:path'
import { readConfig } from 'eks-box/config'
import t from 'tap'
import {
  confirmProduction,
  helmProgram,
  imageRepository,
  kubeAccess,
  loadKubeConfig,
  readEnvironment,
} from './environment.ts'

const box = readConfig({ BOX_STATE_DIR: '/nowhere', BOX_CACHE_DIR: '/nowhere' })

t.test('without ENV it is local, and local is the box', async (t) => {
  t.match(readEnvironment({}), { name: 'local', usesBox: true, valuesFile: /values-local\.yaml$/ })
  t.match(readEnvironment({ ENV: '' }), { name: 'local' }, 'an empty variable counts as none')
})

t.test('a wrong ENV is refused with the names there are', async (t) => {
  t.throws(() => readEnvironment({ ENV: 'production' }), {
    message: 'ENV is "production", which is no environment',
    nextStep: 'use local, dev, staging, prod',
  })
})

t.test('a context of the user’s own takes the place of the box', async (t) => {
  const environment = readEnvironment({ KUBE_CONTEXT: 'kind' })
  t.equal(environment.usesBox, false)
  t.strictSame(kubeAccess(environment, box, { KUBE_CONTEXT: 'kind' }), { context: 'kind' })
})

const nothingCreated = async () => undefined

t.test('images go where the cluster stack put their repository, unless another is named', async (t) => {
  const created = async () => 'host/created'
  t.equal(await imageRepository(readEnvironment({}), {}, created), 'host/created')
  const dev = readEnvironment({ ENV: 'dev' })
  t.equal(await imageRepository(dev, {}, created), 'host/created')
  t.equal(await imageRepository(dev, { IMAGE_REPOSITORY: 'host/app' }, created), 'host/app')
  t.equal(
    await imageRepository(readEnvironment({}), { IMAGE_REPOSITORY: 'host/app' }, created),
    'host/created',
    'the box has one registry',
  )
})

t.test('a repository that is not there is told, with the command that creates it', async (t) => {
  await t.rejects(imageRepository(readEnvironment({ ENV: 'dev' }), {}, nothingCreated), {
    message: 'dev has no image repository yet',
    nextStep: /make apply ENV=dev/,
  })
  await t.rejects(imageRepository(readEnvironment({ KUBE_CONTEXT: 'kind' }), {}, nothingCreated), {
    message: /needs to know/,
    nextStep: /IMAGE_REPOSITORY/,
  })
  const wrong = { IMAGE_REPOSITORY: 'host/app:tag' }
  await t.rejects(imageRepository(readEnvironment({ ENV: 'dev' }), wrong, nothingCreated), {
    message: /no image repository/,
    nextStep: /without a tag/,
  })
})

t.test('an environment’s cluster is the context make kubeconfig makes, never the current one', async (t) => {
  t.strictSame(kubeAccess(readEnvironment({ ENV: 'dev' }), box, {}), { context: 'fastify-eks-dev' })
})

t.test('a kubeconfig that cannot be read is told', async (t) => {
  t.throws(() => loadKubeConfig({ kubeconfig: '/nowhere/kubeconfig' }), {
    message: /kubeconfig cannot be read: .*\/nowhere\/kubeconfig/,
    nextStep: /KUBECONFIG/,
  })
})

t.test('production is changed only when that is meant', async (t) => {
  t.intercept(process, 'env', { value: { ...process.env, CI: '', CONFIRM: '' } })
  const prod = readEnvironment({ ENV: 'prod' })
  t.throws(() => confirmProduction(prod, { reviewed: true }), {
    message: /production/,
    nextStep: /CONFIRM=prod/,
  })
  t.doesNotThrow(() => confirmProduction(readEnvironment({ ENV: 'dev' }), { reviewed: false }))
  process.env['CI'] = 'true'
  t.doesNotThrow(() => confirmProduction(prod, { reviewed: true }), 'CI, with a plan somebody read')
  t.throws(() => confirmProduction(prod, { reviewed: false }), 'CI, with a plan nobody read')
  process.env['CONFIRM'] = 'prod'
  t.doesNotThrow(() => confirmProduction(prod, { reviewed: false }))
})

t.test('a box that is not up is told', async (t) => {
  t.throws(() => kubeAccess(readEnvironment({}), box, {}), {
    message: 'the box is not up',
    nextStep: /make up/,
  })
})

t.test('helm is the pinned one unless another is named', async (t) => {
  t.equal(helmProgram(box, { HELM: '/opt/helm' }), '/opt/helm')
  t.throws(() => helmProgram(box, {}), { message: /not built/, nextStep: /make tools/ })
  const cached = readConfig({ BOX_CACHE_DIR: join(t.testdir(), 'cache') })
  t.throws(() => helmProgram(cached, {}), { message: /not built/ })
})
