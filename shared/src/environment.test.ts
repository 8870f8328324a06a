import t from 'tap'
import { confirmProduction, readEnvironment, requireBox } from './environment.ts'

t.test('without ENV the environment is local, and local is the box', async (t) => {
  for (const env of [{}, { ENV: '' }, { ENV: 'local', KUBE_CONTEXT: '' }]) {
    const environment = readEnvironment({ BOX_STATE_DIR: '/boxes', ...env })
    t.match(environment, {
      name: 'local',
      usesBox: true,
      valuesFile: /values-local\.yaml$/,
      access: { from: 'box', kubeconfig: '/boxes/default/kubeconfig' },
    })
    t.doesNotThrow(() => requireBox(environment))
  }
})

t.test('an unknown ENV is refused, with the known names', async (t) => {
  t.throws(() => readEnvironment({ ENV: 'production' }), {
    message: 'ENV is "production", but there is no such environment',
    nextStep: 'use one of local, dev, staging, prod',
  })
})

t.test('NETWORK replaces the choice of the network', async (t) => {
  t.equal(readEnvironment({}).network, undefined)
  t.equal(readEnvironment({ NETWORK: 'stack' }).network, 'stack')
  t.throws(() => readEnvironment({ NETWORK: 'vpc-1' }), {
    message: 'NETWORK is "vpc-1", but there is no such source of the network',
    nextStep: 'use one of stack, existing',
  })
})

t.test(
  'an environment on AWS uses the context that make kubeconfig writes, never the current one',
  async (t) => {
    const environment = readEnvironment({ ENV: 'dev' })
    t.match(environment, { usesBox: false, access: { from: 'make kubeconfig', context: 'fastify-eks-dev' } })
    t.throws(() => requireBox(environment), {
      message: 'ENV=dev does not use the box, so nothing was started',
      nextStep: /make apply kubeconfig build push deploy ENV=dev/,
    })
  },
)

t.test('KUBE_CONTEXT replaces the box', async (t) => {
  const environment = readEnvironment({ KUBE_CONTEXT: 'kind-dev' })
  t.match(environment, {
    name: 'local',
    usesBox: false,
    access: { from: 'KUBE_CONTEXT', context: 'kind-dev' },
  })
  t.throws(() => requireBox(environment), {
    message: /KUBE_CONTEXT=kind-dev replaces the box/,
    nextStep: /unset KUBE_CONTEXT/,
  })
})

t.test('a change to production needs a confirmation or, in CI, a review', async (t) => {
  const confirm = (env: NodeJS.ProcessEnv, reviewed: boolean) => () =>
    confirmProduction(readEnvironment(env), { reviewed })
  t.throws(confirm({ ENV: 'prod' }, true), { message: /production/, nextStep: /CONFIRM=prod/ })
  t.doesNotThrow(confirm({ ENV: 'dev' }, false))
  t.doesNotThrow(confirm({ ENV: 'prod', CI: 'true' }, true), 'CI, with a reviewed plan')
  t.throws(confirm({ ENV: 'prod', CI: 'true' }, false), 'CI, without one')
  t.doesNotThrow(confirm({ ENV: 'prod', CONFIRM: 'prod' }, false))
  t.throws(confirm({ ENV: 'prod', CONFIRM: 'dev' }, false), 'a confirmation for another environment')
})
