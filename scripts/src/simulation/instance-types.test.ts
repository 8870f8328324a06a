import t from 'tap'
import { INSTANCE_TYPES, podsOn, providerCatalogue } from './instance-types.ts'

const type = (name: string) => {
  const found = INSTANCE_TYPES.find((candidate) => candidate.name === name)
  if (found === undefined) throw new Error(`no ${name}`)
  return found
}

t.test('the types have the prices of the box and the resources that Karpenter computes', async (t) => {
  t.equal(INSTANCE_TYPES.length, 18)
  t.ok(INSTANCE_TYPES.every(({ usd }) => usd > 0))
  // 7577 MiB, less 893 MiB for the kubelet and 100 MiB for evictions.
  t.strictSame(type('c6g.xlarge'), {
    name: 'c6g.xlarge',
    usd: 0.1552,
    allocatable: { milliCpu: 3920, memoryMiB: 6584 },
    maxPods: 58,
  })
  t.strictSame(type('c6g.medium').allocatable, { milliCpu: 940, memoryMiB: 1451 })
})

t.test('the provider for kwok gets the capacity from which it computes these resources', async (t) => {
  const [first] = providerCatalogue([type('r6g.large')]) as {
    name: string
    resources: Record<string, string>
    offerings: { Price: number; Requirements: { values: string[] }[] }[]
  }[]
  t.match(first, {
    name: 'r6g.large',
    architecture: 'arm64',
    operatingSystems: ['linux'],
    resources: { cpu: '2030m', memory: '14491Mi', pods: '29' },
  })
  t.strictSame(
    first?.offerings.map(({ Price, Requirements }) => [
      Price,
      ...Requirements.flatMap(({ values }) => values),
    ]),
    ['a', 'b', 'c'].map((zone) => [0.1216, 'on-demand', `eu-central-1${zone}`]),
  )
})

t.test('the scarcest resource limits the pods of an instance', async (t) => {
  t.equal(podsOn(type('c6g.xlarge'), { milliCpu: 392, memoryMiB: 658 }), 10)
  t.equal(podsOn(type('c6g.xlarge'), { milliCpu: 392, memoryMiB: 2931 }), 2, 'memory')
  t.equal(podsOn(type('c6g.xlarge'), { milliCpu: 1, memoryMiB: 1 }), 58, 'pods')
  t.equal(podsOn(type('c6g.medium'), { milliCpu: 1000, memoryMiB: 1 }), 0)
})
