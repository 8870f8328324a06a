import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Dependency } from './readiness.ts'

/** A dependency that is checked all the time, with answers that the test chooses. */
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

t.test('the first answer makes it ready, however long it takes', async (t) => {
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
  t.notOk(dependency.answering, 'but the failure is known')
})

t.test('after a longer outage, two successes in a row are required', async (t) => {
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
