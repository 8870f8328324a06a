/**
 * The box on a machine with systemd and cgroup version 2, beside the machine's own services. Runs as a systemd
 * service in the virtual machine of `make test ONLY=systemd`, which has no network: the image is brought along.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, statfs } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { kubeconfigPath, readBoxConfig } from 'shared/box'
import { cgroupRoot } from '../src/components/kubelet.ts'
import { boxPaths } from '../src/state-directory.ts'
import { programPath } from '../src/tools.ts'
import { traces } from './machine.ts'

const repository = resolve(import.meta.dirname, '../../..')
const config = readBoxConfig(process.env)
const cgroups = '/sys/fs/cgroup'
/** Of the kernel's linux/magic.h. */
const CGROUP2_SUPER_MAGIC = 0x63677270

/** Services that Debian starts when their packages are installed; the box has programs of the same kinds. */
const neighbours = ['containerd.service', 'postgresql@*.service', 'redis-server.service']

async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  console.log(`-- ${what}`)
  const since = Date.now()
  const result = await work()
  console.log(`-- ${what}: done (${((Date.now() - since) / 1000).toFixed(0)} s)`)
  return result
}

/** Runs a make target as an operator would, in sight. */
async function make(target: string): Promise<void> {
  await execa('make', ['--no-print-directory', target], { cwd: repository, stdio: 'inherit' })
}

/** The services among `neighbours` that run, with their main process: another one after a restart. */
async function runningNeighbours(): Promise<string[]> {
  const properties = ['--property=Id', '--property=MainPID', '--property=NRestarts']
  const { stdout } = await execa('systemctl', ['show', '--state=running', ...properties, ...neighbours])
  return stdout.split('\n\n').map((service) => service.replaceAll('\n', ' '))
}

async function everyNeighbourRuns(): Promise<string[]> {
  for (;;) {
    const running = await runningNeighbours()
    if (running.length === neighbours.length) return running
    // The time limit of the whole check is the one that counts.
    await sleep(2_000)
  }
}

async function pushImage(archive: string, tag: string): Promise<void> {
  const storage = await mkdtemp('/var/tmp/image-')
  const options = [
    '--root',
    join(storage, 'root'),
    '--runroot',
    join(storage, 'run'),
    '--storage-driver',
    'vfs',
  ]
  const { stdout: image } = await execa('buildah', [
    ...options,
    'pull',
    '--quiet',
    `docker-archive:${archive}`,
  ])
  const target = `docker://127.0.0.1:${config.ports.registry}/fastify-app:${tag}`
  await execa('buildah', [...options, 'push', '--tls-verify=false', image, target])
  await rm(storage, { recursive: true })
}

async function answers(path: string): Promise<void> {
  const { status } = await fetch(`http://127.0.0.1:${config.ports.service}${path}`)
  assert.equal(status, 200, `GET ${path}`)
}

/** What one needs to see of a box that failed. */
async function diagnose(): Promise<void> {
  await execa('make', ['--no-print-directory', 'status'], {
    cwd: repository,
    stdio: 'inherit',
    reject: false,
  })
  const kubectl = [programPath(config, 'kubectl'), '--kubeconfig', kubeconfigPath(config)] as const
  for (const what of ['pods', 'events']) {
    const [program, ...options] = kubectl
    await execa(program, [...options, 'get', what, '--all-namespaces'], { stdio: 'inherit', reject: false })
  }
  for (const log of globSync(join(boxPaths(config).logs, '*.log'))) {
    console.log(`-- the end of ${log}`)
    console.log(readFileSync(log, 'utf8').split('\n').slice(-20).join('\n'))
  }
}

async function trial(): Promise<void> {
  const { IMAGE_ARCHIVE: archive, IMAGE_TAG: tag } = process.env
  assert.ok(archive && tag)
  const [neighboursBefore, before] = await step('the machine has systemd and cgroup version 2', async () => {
    assert.equal((await readFile('/proc/1/comm', 'utf8')).trim(), 'systemd')
    assert.equal((await statfs(cgroups)).type, CGROUP2_SUPER_MAGIC)
    return [
      await everyNeighbourRuns(),
      await traces(config.name, config.stateDir, cgroupRoot(config)),
    ] as const
  })
  console.log(`the root cgroup passes on: ${before.controllers?.trim()}`)

  await step('make box', () => make('box'))
  await step('make apply', () => make('apply'))
  await step('push the image', () => pushImage(archive, tag))
  await step('make deploy', () => make('deploy'))
  await step('the service answers, within its memory limit', async () => {
    await answers('/')
    await answers('/readyz')
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
  await step('nothing is left, and the neighbours run as before', async () => {
    assert.equal(await memoryOfNewService(), String(64 * 2 ** 20))
    await execa('systemctl', ['stop', 'neighbour.service'])
    assert.deepEqual(await traces(config.name, config.stateDir, cgroupRoot(config)), before)
    assert.deepEqual(await runningNeighbours(), neighboursBefore)
  })
}

try {
  await trial()
} catch (error) {
  console.log(error)
  process.exitCode = 1
  await diagnose()
}
