import { existsSync, readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { delimiter, join } from 'node:path'
import { execa } from 'execa'
import { awsEnvironment, type BoxConfig, portVariables, readBoxConfig } from 'shared/box'
import t, { type Test } from 'tap'
import { awaitReady, boxEnvironment, removeBox, startBox, stopBox } from './box.ts'
import { openPort } from './ports.ts'
import { type BoxStatus, identify, settledPhase, writeStatus } from './status.ts'

const root = process.getuid?.() === 0
const notRoot = root ? false : 'needs root'
const never = new AbortController().signal

function boxIn(directory: string): BoxConfig {
  return { ...readBoxConfig({ BOX_NAME: 'unit-test' }), stateDir: join(directory, 'box') }
}

function statusOf(config: BoxConfig, rest: Partial<BoxStatus>): BoxStatus {
  const host = identify(process.pid)
  if (host === undefined) throw new Error('this process has no entry in /proc')
  return { phase: 'ready', host, fingerprint: 'abc', ports: config.ports, components: [], ...rest }
}

t.test('down does not remove a directory that was not created by a box', async (t) => {
  const directory = t.testdir({ box: { 'thesis.txt': 'years of work' } })
  await t.rejects(removeBox(boxIn(directory)), {
    message: /box contains files that were not created by a box/,
    nextStep: /BOX_STATE_DIR/,
  })
  t.equal(readFileSync(join(directory, 'box', 'thesis.txt'), 'utf8'), 'years of work')
})

t.test('down removes the directory of a box', { skip: notRoot }, async (t) => {
  const directory = t.testdir({ box: { '.eks-box': '', data: { etcd: {} } } })
  t.equal(await removeBox(boxIn(directory)), true)
  t.notOk(existsSync(join(directory, 'box')))
  t.equal(await removeBox(boxIn(directory)), false)
})

t.test('only root can stop or remove a box', async (t) => {
  const config = boxIn(t.testdir({ box: { '.eks-box': '' } }))
  await writeStatus(config, statusOf(config, {}))
  t.intercept(process, 'getuid', { value: () => 1000 })
  await t.rejects(stopBox(config), { message: 'box unit-test belongs to root', nextStep: /make stop/ })
  await t.rejects(removeBox(config), { message: 'box unit-test belongs to root', nextStep: /make down/ })
})

t.test("the box's programs inherit neither proxy settings nor other variables of the caller", async (t) => {
  const config = boxIn('/srv')
  const proxies = ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY', 'NO_PROXY'].flatMap((name) => [
    name,
    name.toLowerCase(),
  ])
  const caller = Object.fromEntries(proxies.map((name) => [name, 'http://127.0.0.1:1']))
  const environment = boxEnvironment(config, {
    ...caller,
    PATH: '/bin',
    HOME: '/home/dev',
    NODE_OPTIONS: '--inspect',
    BOX_API_PORT: '7443',
  })
  t.strictSame(environment, {
    PATH: '/bin',
    HOME: '/srv/box/run/home',
    BOX_API_PORT: '7443',
    BOX_NAME: 'unit-test',
    BOX_STATE_DIR: '/srv',
    BOX_CACHE_DIR: config.cacheDir,
  })
})

t.test("AWS clients bypass the proxy only for the box's AWS", async (t) => {
  const config = boxIn(t.testdir({ box: { 'aws-operator.json': '{}' } }))
  t.equal(awsEnvironment(config, {})['NO_PROXY'], '127.0.0.1,localhost')
  const environment = awsEnvironment(config, { no_proxy: '.corp', HTTPS_PROXY: 'http://proxy:3128' })
  t.equal(environment['no_proxy'], '.corp,127.0.0.1,localhost')
  t.equal(environment['NO_PROXY'], environment['no_proxy'])
  t.notOk('HTTPS_PROXY' in environment)
})

t.test('a box is degraded while a component is not ready', async (t) => {
  t.equal(settledPhase([{ name: 'etcd', state: 'ready', restarts: 0 }]), 'ready')
  for (const state of ['unready', 'restarting', 'starting'] as const) {
    t.equal(
      settledPhase([
        { name: 'etcd', state: 'ready', restarts: 0 },
        { name: 'kubelet', state, restarts: 1 },
      ]),
      'degraded',
    )
  }
})

t.test('a box that does not recover is an error that names the unready components', async (t) => {
  const config = { ...boxIn(t.testdir({ box: {} })), startTimeoutSeconds: 1 }
  const degraded = statusOf(config, {
    phase: 'degraded',
    components: [
      { name: 'etcd', state: 'ready', restarts: 0 },
      { name: 'kubelet', state: 'unready', restarts: 2, message: 'no response', nextStep: 'see its log' },
    ],
  })
  await writeStatus(config, degraded)
  await t.rejects(awaitReady(config, degraded, never), {
    message: 'box unit-test is degraded: kubelet is unready (no response)',
    nextStep: /^see its log; .*make stop.*make up/,
  })
  await writeStatus(config, { ...degraded, phase: 'ready' })
  await t.resolves(awaitReady(config, degraded, never))
})

/** A configuration with free ports, and a PATH that starts with the script `unshare`. */
async function prepareStart(t: Test, unshare: string) {
  const directory = t.testdir({ bin: { unshare } })
  await execa('chmod', ['+x', join(directory, 'bin', 'unshare')])
  const names = Object.values(portVariables)
  const listeners = await Promise.all(names.map((name) => openPort(0, name)))
  const ports = listeners.map((listener) => String((listener.address() as AddressInfo).port))
  for (const listener of listeners) listener.close()
  const variables: Record<string, string> = {
    PATH: `${join(directory, 'bin')}${delimiter}${process.env['PATH']}`,
    BOX_NAME: 'unit-test',
    // A short path, because the paths of unix sockets are limited.
    BOX_STATE_DIR: (await execa('mktemp', ['--directory', '/tmp/eks-box-XXXXXX'])).stdout,
    ...Object.fromEntries(names.map((name, index) => [name, ports[index] ?? ''])),
  }
  t.teardown(() => execa('rm', ['-r', '-f', variables['BOX_STATE_DIR'] ?? '']))
  return { config: readBoxConfig(variables), variables }
}

t.test(
  'a start fails with the cause when the kernel refuses the namespaces',
  { skip: notRoot },
  async (t) => {
    const { config, variables } = await prepareStart(
      t,
      '#!/bin/sh\necho "unshare: Operation not permitted" >&2\nexit 1\n',
    )
    await t.rejects(
      startBox(config, () => {}, never, variables),
      {
        message: "the box's namespaces cannot be created: exit code 1: unshare: Operation not permitted",
        nextStep: /make doctor/,
      },
    )
  },
)

t.test('Ctrl-C ends a start that hangs', { skip: notRoot }, async (t) => {
  const { config, variables } = await prepareStart(t, '#!/bin/sh\nexec sleep 1000\n')
  const interrupt = new AbortController()
  const starting = startBox(config, () => interrupt.abort(), interrupt.signal, variables)
  await t.rejects(starting, { message: 'interrupted while the box was starting' })
})
