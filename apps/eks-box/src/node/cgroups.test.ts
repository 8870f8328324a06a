/** Tests against the real kernel, with a cgroup and a record file of their own. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createCgroups, findCgroups, listCgroups, removeCgroups, restoreControllers } from './cgroups.ts'

const read = (...path: string[]) => readFileSync(join(...path), 'utf8').trim()

// Machines with cgroup v1 often mount v2 as well, with the controllers that v1 does not use.
const mountPoint = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find((directory) => {
  const controllers = join(directory, 'cgroup.controllers')
  return existsSync(controllers) && read(controllers).split(' ').includes('hugetlb')
})
const skip =
  (process.getuid?.() !== 0 && 'needs root') ||
  (mountPoint === undefined && 'needs cgroup v2 with the controller hugetlb')

t.test('the pods of a box weigh as much as two processes on each processor', async (t) => {
  const mountPoint = t.testdir({
    cpu: { 'cgroup.procs': '', box: { 'cpu.shares': '1024' } },
    pids: { 'cgroup.procs': '' },
  })
  await createCgroups('/box', { mountPoint, record: join(mountPoint, 'record') })
  t.equal(read(mountPoint, 'cpu/box/cpu.shares'), String(Math.min(2048 * availableParallelism(), 262_144)))
  t.ok(existsSync(join(mountPoint, 'pids/box')), 'other hierarchies have no weights')
})

t.test('cgroup v2', { skip }, async (t) => {
  const subtree = () => read(mountPoint ?? '', 'cgroup.subtree_control')
  const root = `/box-test-${process.pid}`
  const directory = join(mountPoint ?? '', root)
  const cgroupfs = { mountPoint: mountPoint ?? '', record: join(t.testdir(), 'record') }
  const before = subtree()
  t.afterEach(async () => {
    await removeCgroups(root, cgroupfs)
    await restoreControllers(cgroupfs)
  })

  t.test('the box gets every controller, and the root is restored afterwards', async (t) => {
    await createCgroups(root, cgroupfs)
    t.equal(read(directory, 'cgroup.controllers'), read(mountPoint ?? '', 'cgroup.controllers'))
    t.equal(read(directory, 'cgroup.subtree_control'), read(directory, 'cgroup.controllers'))
    t.strictSame(await listCgroups(root, cgroupfs), [directory])
    t.match(await findCgroups('box-test-', cgroupfs), [root.slice(1)])

    await removeCgroups(root, cgroupfs)
    await restoreControllers(cgroupfs)
    t.equal(subtree(), before)
    t.notOk(existsSync(cgroupfs.record))
  })

  t.test('the root is restored even after a box that was killed', async (t) => {
    await createCgroups(root, cgroupfs)
    // The next start finds the record of the killed box, and all controllers enabled.
    await removeCgroups(root, cgroupfs)
    await createCgroups(root, cgroupfs)
    await removeCgroups(root, cgroupfs)
    await restoreControllers(cgroupfs)
    t.equal(subtree(), before)
  })

  t.test('a controller that another cgroup uses stays enabled', async (t) => {
    await createCgroups(root, cgroupfs)
    const all = subtree()
    // The box's own cgroup, which still exists, stands in for the other one.
    await restoreControllers(cgroupfs)
    t.equal(subtree(), all)
    t.notOk(existsSync(cgroupfs.record))
    writeFileSync(
      cgroupfs.record,
      all
        .split(' ')
        .filter((name) => !before.split(' ').includes(name))
        .join(' '),
    )
  })

  t.test('a refused controller that the kubelet requires is an error', async (t) => {
    await createCgroups(root, cgroupfs)
    writeFileSync(join(directory, 'cgroup.subtree_control'), '-hugetlb')
    const occupant = spawn('sleep', ['60'])
    t.teardown(async () => {
      occupant.kill('SIGKILL')
      await new Promise((resolve) => occupant.once('exit', resolve))
      await removeCgroups(root, cgroupfs)
    })
    writeFileSync(join(directory, 'cgroup.procs'), String(occupant.pid))
    await t.rejects(createCgroups(root, cgroupfs), {
      message:
        'the kubelet cannot start: the kernel refuses to enable its cgroup controllers hugetlb (EBUSY)',
      nextStep: /move the processes in .*cgroup.procs/,
    })
  })
})

t.test('hierarchies of cgroup v1 are recognised by their file cgroup.procs', async (t) => {
  const mountPoint = t.testdir({ cpu: { 'cgroup.procs': '' }, memory: { 'cgroup.procs': '' }, other: {} })
  const cgroupfs = { mountPoint, record: join(mountPoint, 'record') }
  await createCgroups('/box', cgroupfs)
  t.strictSame((await listCgroups('/box', cgroupfs)).sort(), [
    join(mountPoint, 'cpu/box'),
    join(mountPoint, 'memory/box'),
  ])
  t.notOk(existsSync(cgroupfs.record))
  await removeCgroups('/box', cgroupfs)
  t.strictSame(await listCgroups('/box', cgroupfs), [])
})
