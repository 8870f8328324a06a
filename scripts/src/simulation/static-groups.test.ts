import t from 'tap'
import { day } from './curve.ts'
import { cheapestFor, lowestCost, staticGroup, staticGroups } from './static-groups.ts'

const size = { nodes: 100, pods: 1000 }

t.test('a group uses the cheapest type for the pods', async (t) => {
  const { type, pods } = cheapestFor(size)
  t.strictSame([type.name, pods], ['c6g.xlarge', 10])
})

t.test('a group has room for its pods in every hour', async (t) => {
  const hours = [
    { hour: 0, pods: 1000 },
    { hour: 1, pods: 100 },
  ]
  const { nodes, usd, hoursWithoutRoom } = staticGroup(1000, hours, size)
  t.equal(nodes, 100)
  t.equal(usd.toFixed(2), (2 * 100 * 0.1552).toFixed(2))
  t.equal(hoursWithoutRoom, 0)
  t.match(staticGroup(991, hours, size), { nodes: 100 })
})

t.test('a smaller group leaves pods without room', async (t) => {
  const hours = [
    { hour: 0, pods: 1000 },
    { hour: 1, pods: 400 },
    { hour: 2, pods: 600 },
  ]
  t.match(staticGroup(500, hours, size), { nodes: 50, hoursWithoutRoom: 2, podHoursWithoutRoom: 600 })
})

t.test('over the day, no fleet costs less than nodes that are always full', async (t) => {
  const hours = day(size.pods)
  const { peak, average } = staticGroups(hours, size)
  const lowest = lowestCost(hours, size)
  t.ok(lowest < average.usd && average.usd < peak.usd)
  t.ok(average.hoursWithoutRoom > 0)
  t.equal(peak.hoursWithoutRoom, 0)
})
