import { appendFileSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import t from 'tap'
import { Journal } from './journal.ts'

interface Entry {
  change: string
}

const notRoot = process.getuid?.() === 0 ? false : 'mounting a small file system needs root'

t.test('entries are read in the order of writing', async (t) => {
  const journal = new Journal<Entry>(join(t.testdir(), 'aws', 'journal.jsonl'))
  t.strictSame(await journal.read(), [])
  await journal.append({ change: 'one' })
  await journal.append({ change: 'zwei äöü' })
  t.strictSame(await journal.read(), [{ change: 'one' }, { change: 'zwei äöü' }])
  await journal.clear()
  t.strictSame(await journal.read(), [])
})

t.test('an incomplete last line is truncated, so that later entries are not lost', async (t) => {
  const path = join(t.testdir({ journal: '{"change":"ä"}\n{"cha' }), 'journal')
  t.strictSame(await new Journal<Entry>(path).read(), [{ change: 'ä' }])
  await new Journal<Entry>(path).append({ change: 'two' })
  t.strictSame(await new Journal<Entry>(path).read(), [{ change: 'ä' }, { change: 'two' }])
  t.equal(readFileSync(path, 'utf8'), '{"change":"ä"}\n{"change":"two"}\n')
})

t.test('an incomplete line in the middle is skipped', async (t) => {
  const path = join(t.testdir({ journal: '' }), 'journal')
  appendFileSync(path, '{"change":"one"}\n{"cha{"change":"two"}\n{"change":"three"}\n')
  t.strictSame(await new Journal<Entry>(path).read(), [{ change: 'one' }, { change: 'three' }])
})

t.test('on a full disk, append fails and leaves no incomplete line', { skip: notRoot }, async (t) => {
  const directory = t.testdir()
  const disk = join(directory, 'disk')
  mkdirSync(disk)
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'eks-box-test', disk])
  const journal = new Journal<Entry>(join(disk, 'journal'))
  await journal.append({ change: 'one' })
  try {
    await t.rejects(journal.append({ change: 'x'.repeat(20_000) }), { code: 'ENOSPC' })
    t.equal(readFileSync(join(disk, 'journal'), 'utf8'), '{"change":"one"}\n')
    await journal.append({ change: 'two' })
    t.strictSame(await journal.read(), [{ change: 'one' }, { change: 'two' }])
  } finally {
    await execa('umount', [disk])
  }
})
