import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Dependency } from './readiness.ts'

/** A dependency that is asked all the time, and how it answers. */
function follow(t: Test, graceMs: number, answers: boolean) {
  const state = { answers, asked: 0 }
  const dependency = new Dependency(
    async () => {
      state.asked++
      if (!state.answers) throw new Error('no answer')
    },
    graceMs,
    1,
  )
  const following = dependency.follow()
  t.teardown(async () => {
    dependency.stop()
    await following
  })
  const times = async (count: number) => {
    for (const target = state.asked + count; state.asked < target; ) await setTimeout(1)
  }
  return { dependency, state, times }
}

t.test('it is ready with its first answer, however long that takes', async (t) => {
  const { dependency, state, times } = follow(t, 0, false)
  await times(3)
  t.notOk(dependency.ready)
  state.answers = true
  await times(2)
  t.ok(dependency.ready)
  t.ok(dependency.answering)
})

t.test('an outage within the grace period changes nothing', async (t) => {
  const { dependency, state, times } = follow(t, 60_000, true)
  await times(2)
  state.answers = false
  await times(3)
  t.ok(dependency.ready)
  t.notOk(dependency.answering, 'but it is known')
})

t.test('after a longer one it takes two good answers in a row', async (t) => {
  const { dependency, state, times } = follow(t, 0, true)
  await times(2)
  state.answers = false
  await times(2)
  t.notOk(dependency.ready)
  state.answers = true
  while (!dependency.answering) await setTimeout(0)
  await times(3)
  t.ok(dependency.ready)
})
