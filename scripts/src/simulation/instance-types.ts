import { onDemandPrices } from 'eks-box/instance-catalogue'
import { REGION } from 'shared/box'

/** Amounts of what pods request and nodes have. */
export interface Resources {
  milliCpu: number
  memoryMiB: number
}

/** An instance type that the simulated NodePool can use. */
export interface InstanceType {
  name: string
  /** Price per hour, on-demand. */
  usd: number
  /** What pods can use. */
  allocatable: Resources
  maxPods: number
}

/**
 * The sizes, with their vCPUs and the number of pods that the VPC CNI plugin supports without prefix delegation (EKS
 * user guide).
 */
const sizes = {
  medium: { vcpus: 1, maxPods: 8 },
  large: { vcpus: 2, maxPods: 29 },
  xlarge: { vcpus: 4, maxPods: 58 },
} as const

/** Memory per vCPU in GiB, by the first letter of the family. */
const memoryPerVcpu = { c: 2, m: 4, r: 8 } as const

/** Families with ARM64 processors whose price includes full use of the processor; burstable types have surcharges. */
const families = ['c6g', 'c7g', 'm6g', 'm7g', 'r6g', 'r7g'] as const

/** The instance types of the simulation, with the prices that the box's EC2 reports. */
export const INSTANCE_TYPES: readonly InstanceType[] = families.flatMap((family) =>
  Object.entries(sizes).map(([size, { vcpus, maxPods }]) => {
    const name = `${family}.${size}`
    const usd = onDemandPrices.get(name)
    if (usd === undefined) throw new TypeError(`the box's EC2 has no price of ${name}`)
    const letter = family.slice(0, 1) as keyof typeof memoryPerVcpu
    return { name, usd, allocatable: allocatable(vcpus, memoryPerVcpu[letter], maxPods), maxPods }
  }),
)

/**
 * What pods can use of an instance, as Karpenter computes it for AL2023: 7.5 % of the memory is not available to the
 * operating system, then the kubelet reserves its share and 100 MiB for evictions.
 */
function allocatable(vcpus: number, gibPerVcpu: number, maxPods: number): Resources {
  let reserved = 0
  for (let cpu = 1; cpu <= vcpus; cpu++) reserved += cpu === 1 ? 60 : cpu === 2 ? 10 : cpu <= 4 ? 5 : 2.5
  const memory = vcpus * gibPerVcpu * 1024
  return {
    milliCpu: vcpus * 1000 - reserved,
    memoryMiB: Math.floor(memory * 0.925) - (11 * maxPods + 255) - 100,
  }
}

/** Karpenter's provider for kwok subtracts this from the capacity of every instance type. */
const reservedByProvider: Resources = { milliCpu: 100, memoryMiB: 10 }

/** The instance types in the format of Karpenter's provider for kwok: on-demand, in the region's three zones. */
export function providerCatalogue(types: readonly InstanceType[]): object[] {
  const isIn = (key: string, value: string) => ({ key, operator: 'In', values: [value] })
  return types.map(({ name, usd, allocatable: { milliCpu, memoryMiB }, maxPods }) => ({
    name,
    architecture: 'arm64',
    operatingSystems: ['linux'],
    resources: {
      cpu: `${milliCpu + reservedByProvider.milliCpu}m`,
      memory: `${memoryMiB + reservedByProvider.memoryMiB}Mi`,
      pods: String(maxPods),
      'ephemeral-storage': '20Gi',
    },
    offerings: ['a', 'b', 'c'].map((zone) => ({
      Price: usd,
      Available: true,
      Requirements: [
        isIn('karpenter.sh/capacity-type', 'on-demand'),
        isIn('topology.kubernetes.io/zone', `${REGION}${zone}`),
      ],
    })),
  }))
}

/** How many pods with these requests fit on one instance. */
export function podsOn(type: InstanceType, requests: Resources): number {
  return Math.min(
    type.maxPods,
    Math.floor(type.allocatable.milliCpu / requests.milliCpu),
    Math.floor(type.allocatable.memoryMiB / requests.memoryMiB),
  )
}
