import t from 'tap'
import { helmCause, lastGood } from './deploy.ts'

t.test('a rollback goes to the newest revision that was fully rolled out', async (t) => {
  t.equal(
    lastGood([
      { revision: 1, status: 'superseded' },
      { revision: 2, status: 'deployed' },
      { revision: 3, status: 'failed' },
      { revision: 4, status: 'pending-upgrade' },
    ]),
    2,
  )
})

t.test('a release that was never rolled out has nothing to return to', async (t) => {
  t.equal(lastGood([{ revision: 1, status: 'pending-install' }]), undefined)
  t.equal(lastGood([]), undefined)
})

t.test("a value the chart's schema refuses is told in one line", async (t) => {
  const said = `Error: UPGRADE FAILED: values don't meet the specifications of the schema(s) in the following chart(s):
fastify-app:
- at '/autoscaling': additional properties 'maxReplica' not allowed
- at '': something else
`
  t.equal(
    helmCause(said),
    "a value is not what the chart allows: at '/autoscaling': additional properties 'maxReplica' not allowed",
  )
})

t.test('any other failure is the last line without its preamble', async (t) => {
  t.equal(helmCause('walk\nError: UPGRADE FAILED: context deadline exceeded\n'), 'context deadline exceeded')
})
