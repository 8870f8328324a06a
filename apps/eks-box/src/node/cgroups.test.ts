/** Against the kernel itself, with a cgroup and a record of the test's own. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createCgroups, findCgroups, listCgroups, removeCgroups, restoreControllers } from './cgroups.ts'

const read = (...path: string[]) => readFileSync(join(...path), 'utf8').trim()

// Beside hierarchies of version 1, machines often have one of version 2 with the controllers left over.
const mountPoint = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find((directory) => {
  const controllers = join(directory, 'cgroup.controllers')
  return existsSync(controllers) && read(controllers).split(' ').includes('hugetlb')
})
const skip =
  (process.getuid?.() !== 0 && 'needs root') ||
  (mountPoint === undefined && 'needs cgroup version 2 with the controller hugetlb')

t.test('cgroup version 2', { skip }, async (t) => {
  const subtree = () => read(mountPoint ?? '', 'cgroup.subtree_control')
  const root = `/box-test-${process.pid}`
  const directory = join(mountPoint ?? '', root)
  const cgroupfs = { mountPoint: mountPoint ?? '', record: join(t.testdir(), 'record') }
  const before = subtree()
  t.afterEach(async () => {
    await removeCgroups(root, cgroupfs)
    await restoreControllers(cgroupfs)
  })

  t.test('the box gets every controller, and the root is as before when it is gone', async (t) => {
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

  t.test('a box that was killed is forgotten only when the root is as before', async (t) => {
    await createCgroups(root, cgroupfs)
    // The next start finds the cgroups of the killed one and all controllers enabled.
    await removeCgroups(root, cgroupfs)
    await createCgroups(root, cgroupfs)
    await removeCgroups(root, cgroupfs)
    await restoreControllers(cgroupfs)
    t.equal(subtree(), before)
  })

  t.test('a controller that somebody else uses stays', async (t) => {
    await createCgroups(root, cgroupfs)
    const all = subtree()
    // The box's own cgroup, left as it is, stands for the other user.
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

  t.test('a refused controller is named with the reason when the kubelet needs it', async (t) => {
    await createCgroups(root, cgroupfs)
    writeFileSync(join(directory, 'cgroup.subtree_control'), '-hugetlb')
    const inhabitant = spawn('sleep', ['60'])
    t.teardown(async () => {
      inhabitant.kill('SIGKILL')
      await new Promise((resolve) => inhabitant.once('exit', resolve))
      await removeCgroups(root, cgroupfs)
    })
    writeFileSync(join(directory, 'cgroup.procs'), String(inhabitant.pid))
    await t.rejects(createCgroups(root, cgroupfs), {
      message:
        "the kernel refuses the box's pods the cgroup controllers hugetlb (EBUSY), without which the kubelet does not start",
      nextStep: /move the processes in .*cgroup.procs/,
    })
  })
})

t.test('hierarchies of version 1 are found by their file of processes', async (t) => {
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
