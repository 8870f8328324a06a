import { join } from 'node:path'
import { readConfig } from 'eks-box/config'
import t from 'tap'
import { helmProgram, imageRepository, kubeAccess, readEnvironment } from './environment.ts'

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

t.test('the box’s images carry their production name', async (t) => {
  t.match(
    imageRepository(readEnvironment({}), {}),
    /^\d{12}\.dkr\.ecr\.eu-central-1\.amazonaws\.com\/fastify-app$/,
  )
})

t.test('elsewhere the repository and the cluster have to be named', async (t) => {
  const dev = readEnvironment({ ENV: 'dev' })
  t.throws(() => imageRepository(dev, {}), { message: /ENV=dev needs/, nextStep: /IMAGE_REPOSITORY/ })
  t.throws(() => imageRepository(dev, { IMAGE_REPOSITORY: 'host/app:tag' }), {
    message: /no image repository/,
    nextStep: /without a tag/,
  })
  t.equal(imageRepository(dev, { IMAGE_REPOSITORY: 'host/app' }), 'host/app')
  t.throws(() => kubeAccess(dev, box, {}), { message: /which cluster/, nextStep: /KUBE_CONTEXT/ })
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
