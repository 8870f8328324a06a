import t from 'tap'
import { freePodSubnet } from './pod-subnets.ts'
import { defaultMaxPods, exceeds, type Instance, kubeReserved, nodeSpec, otherProcessor } from './spec.ts'

const small = {
  name: 't4g.small',
  architecture: 'arm64',
  processors: 2,
  memoryMiB: 2048,
  networkInterfaces: 3,
  addressesPerInterface: 4,
}
const machine = { processors: 8, memoryMiB: 16_000 }
const instance: Instance = {
  id: 'i-1',
  dnsName: 'ip-10-0-32-4.eu-central-1.compute.internal',
  address: '10.0.32.4',
  zone: 'eu-central-1a',
  type: small,
  subnet: '10.0.32.0/19',
  userData: 'kind: NodeConfig\nspec: { kubelet: { config: { maxPods: 20 } } }\n',
}

t.test('a t4g.small has room for 11 pods and reserves what EKS reserves', async (t) => {
  t.equal(defaultMaxPods(small), 11, 'as in eni-max-pods.txt of amazon-eks-ami')
  t.strictSame(kubeReserved(2, 11), { milliCpu: 70, memoryMiB: 376 })
  t.strictSame(kubeReserved(4, 58), { milliCpu: 80, memoryMiB: 893 }, 'm5.xlarge')
})

t.test('pods can use no more than the instance type has, whatever the size of this machine', async (t) => {
  const spec = nodeSpec(instance, '10.0.48.0/24', machine, 'eu-central-1')
  t.equal(machine.processors * 1000 - spec.systemReserved.milliCpu, 2000)
  t.equal(machine.memoryMiB - spec.systemReserved.memoryMiB, 1894, '92.5 % of 2 GiB')
  t.equal(spec.maxPods, 20, 'of the user data')
  t.equal(spec.kubeReserved.memoryMiB, 475)
  t.match(spec.labels, {
    'node.kubernetes.io/instance-type': 't4g.small',
    'topology.kubernetes.io/zone': 'eu-central-1a',
  })
})

t.test('an instance type that is larger than this machine is refused, with both sizes', async (t) => {
  t.equal(exceeds(small, machine), undefined)
  t.match(exceeds(small, { processors: 1, memoryMiB: 16_000 }), /has 2 processors, this machine has 1/)
  t.match(exceeds(small, { processors: 2, memoryMiB: 1000 }), /has 2048 MiB of memory, this machine has 1000/)
})

t.test('the pods of each node have a block of the second half of its subnet', async (t) => {
  t.equal(freePodSubnet('10.0.32.0/19', new Set()), '10.0.48.0/24')
  t.equal(freePodSubnet('10.0.32.0/19', new Set(['10.0.48.0/24', '10.0.50.0/24'])), '10.0.49.0/24')
  const all = new Set(Array.from({ length: 16 }, (_, index) => `10.0.${48 + index}.0/24`))
  t.throws(() => freePodSubnet('10.0.32.0/19', all), { message: /no free block/ })
})

t.test('a machine can only be an instance with its own architecture', async (t) => {
  t.equal(otherProcessor(small, 'arm64'), undefined)
  t.match(otherProcessor(small, 'x64'), 'architecture arm64, this machine has x86_64')
  t.equal(otherProcessor({ ...small, name: 't3a.small', architecture: 'x86_64' }, 'x64'), undefined)
})
