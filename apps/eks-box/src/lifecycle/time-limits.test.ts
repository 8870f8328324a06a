import t from 'tap'
import { timeLimits } from './time-limits.ts'

t.test('the time limits of the box cover the longest dependency chain', async (t) => {
  for (const startTimeoutSeconds of [1, 120, 1200]) {
    const { componentStart, componentStop, allStop, boxStop, boxStart } = timeLimits({ startTimeoutSeconds })
    t.equal(componentStart, startTimeoutSeconds * 1000)
    // Stopping takes longest: a node's kubelet and containerd, then nodes, aws and moto.
    t.ok(boxStart >= 4 * componentStart)
    t.ok(allStop >= 4 * componentStop)
    t.ok(boxStop > allStop)
  }
})
