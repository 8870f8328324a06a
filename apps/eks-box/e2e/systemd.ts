/**
 * Tests the box on a machine with systemd and cgroup v2, beside the machine's own services. Runs as a systemd service
 * in the virtual machine of `make test ONLY=systemd`, and pushes a prepared image, because that machine has no network.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, statfs } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { kubeconfigPath, readBoxConfig } from 'shared/box'
import { buildahCommand } from 'shared/buildah'
import { programPath } from 'shared/tools'
import { cgroupRoot } from '../src/components/kubelet.ts'
import { boxPaths } from '../src/state-directory.ts'
import { traces } from './machine.ts'

const repository = resolve(import.meta.dirname, '../../..')
const config = readBoxConfig(process.env)
const cgroups = '/sys/fs/cgroup'
/** From the kernel's linux/magic.h. */
const CGROUP2_SUPER_MAGIC = 0x63677270

/** Services that Debian starts by default, of programs that the box runs as well. */
const neighbours = ['containerd.service', 'postgresql@*.service', 'redis-server.service']

async function step<T>(title: string, work: () => Promise<T>): Promise<T> {
  console.log(`-- ${title}`)
  const since = Date.now()
  const result = await work()
  console.log(`-- ${title}: done (${((Date.now() - since) / 1000).toFixed(0)} s)`)
  return result
}

/** Runs a make target and shows its output. */
async function make(target: string): Promise<void> {
  await execa('make', ['--no-print-directory', target], { cwd: repository, stdio: 'inherit' })
}

/** The running services of `neighbours`, with their main process id and restart count, which reveal a restart. */
async function runningNeighbours(): Promise<string[]> {
  const properties = ['--property=Id', '--property=MainPID', '--property=NRestarts']
  const { stdout } = await execa('systemctl', ['show', '--state=running', ...properties, ...neighbours])
  return stdout.split('\n\n').map((service) => service.replaceAll('\n', ' '))
}

async function waitForNeighbours(): Promise<string[]> {
  for (;;) {
    const running = await runningNeighbours()
    if (running.length === neighbours.length) return running
    // Needs no timeout of its own: the whole test has one.
    await sleep(2_000)
  }
}

async function pushImage(archive: string, tag: string): Promise<void> {
  const storage = await mkdtemp('/var/tmp/image-')
  const [env, ...buildah] = buildahCommand(storage)
  const { stdout: image } = await execa(env, [...buildah, 'pull', '--quiet', `docker-archive:${archive}`])
  const target = `docker://127.0.0.1:${config.ports.registry}/fastify-app:${tag}`
  await execa(env, [...buildah, 'push', '--tls-verify=false', image, target])
  await rm(storage, { recursive: true })
}

async function assertServes(path: string): Promise<void> {
  const { status } = await fetch(`http://127.0.0.1:${config.ports.service}${path}`)
  assert.equal(status, 200, `GET ${path}`)
}

/** Prints the state and the logs of a box that failed. */
async function diagnose(): Promise<void> {
  await execa('make', ['--no-print-directory', 'status'], {
    cwd: repository,
    stdio: 'inherit',
    reject: false,
  })
  const kubectl = [programPath(config, 'kubectl'), '--kubeconfig', kubeconfigPath(config)] as const
  for (const resource of ['pods', 'events']) {
    const [program, ...options] = kubectl
    await execa(program, [...options, 'get', resource, '--all-namespaces'], {
      stdio: 'inherit',
      reject: false,
    })
  }
  for (const log of globSync(join(boxPaths(config).logs, '*.log'))) {
    console.log(`-- last lines of ${log}`)
    console.log(readFileSync(log, 'utf8').split('\n').slice(-20).join('\n'))
  }
}

async function testBox(): Promise<void> {
  const { IMAGE_ARCHIVE: archive, IMAGE_TAG: tag } = process.env
  assert.ok(archive && tag)
  const [neighboursBefore, before] = await step('the machine has systemd and cgroup v2', async () => {
    assert.equal((await readFile('/proc/1/comm', 'utf8')).trim(), 'systemd')
    assert.equal((await statfs(cgroups)).type, CGROUP2_SUPER_MAGIC)
    return [
      await waitForNeighbours(),
      await traces(config.name, config.stateDir, cgroupRoot(config)),
    ] as const
  })
  console.log(`controllers enabled at the root cgroup: ${before.controllers?.trim()}`)

  await step('make box', () => make('box'))
  await step('make apply', () => make('apply'))
  await step('push the image', () => pushImage(archive, tag))
  await step('make deploy', () => make('deploy'))
  await step('the service responds, and its memory limit is set', async () => {
    await assertServes('/')
    await assertServes('/readyz')
    const limits = globSync(join(cgroups, cgroupRoot(config), '**/memory.max')).map((file) =>
      readFileSync(file, 'utf8').trim(),
    )
    assert.ok(limits.includes(String(256 * 2 ** 20)), `memory limits: ${limits.join(', ')}`)
  })
  const memoryOfNewService = async () =>
    (await readFile(join(cgroups, 'system.slice/neighbour.service/memory.max'), 'utf8')).trim()
  await step('systemd starts a service with a limit beside the box', async () => {
    const options = ['--unit=neighbour', '--property=MemoryMax=64M', '--property=TasksMax=16']
    await execa('systemd-run', [...options, 'sleep', 'infinity'])
    assert.equal(await memoryOfNewService(), String(64 * 2 ** 20))
  })
  await step('make down', () => make('down'))
  await step('nothing is left behind, and the neighbours have not been restarted', async () => {
    assert.equal(await memoryOfNewService(), String(64 * 2 ** 20))
    await execa('systemctl', ['stop', 'neighbour.service'])
    assert.deepEqual(await traces(config.name, config.stateDir, cgroupRoot(config)), before)
    assert.deepEqual(await runningNeighbours(), neighboursBefore)
  })
}

try {
  await testBox()
} catch (error) {
  console.log(error)
  process.exitCode = 1
  await diagnose()
}
