import t from 'tap'
import { timeLimits } from './time-limits.ts'

t.test('the time limits of the whole box leave room for each component in turn', async (t) => {
  for (const startTimeoutSeconds of [1, 120, 1200]) {
    const { componentStart, componentStop, allStop, boxStop, boxStart } = timeLimits({ startTimeoutSeconds })
    t.equal(componentStart, startTimeoutSeconds * 1000)
    // etcd, kube-apiserver, kubelet and metrics-server start and stop one after another.
    t.ok(boxStart >= 4 * componentStart)
    t.ok(allStop >= 4 * componentStop)
    t.ok(boxStop > allStop)
  }
})
