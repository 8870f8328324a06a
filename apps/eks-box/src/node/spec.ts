import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { type NodeConfig, parseUserData } from './user-data.ts'

/** What EC2 knows of an instance. */
export interface Instance {
  id: string
  /** Private DNS name, which is the name of its node. */
  dnsName: string
  address: string
  zone: string
  type: InstanceType
  /** The subnet's IPv4 block. */
  subnet: string
  /** Decoded. */
  userData: string
}

/** What EC2 publishes about an instance type (DescribeInstanceTypes). */
export interface InstanceType {
  name: string
  architecture: string
  processors: number
  memoryMiB: number
  networkInterfaces: number
  addressesPerInterface: number
}

/** A node of the cluster, as its programs are configured. */
export interface NodeSpec {
  instanceId: string
  name: string
  address: string
  zone: string
  instanceType: string
  /** The IPv4 block of the node's pods. */
  podSubnet: string
  maxPods: number
  /** What the instance type has. */
  capacity: Readonly<Resources>
  labels: Readonly<Record<string, string>>
  /** As `key=value:effect`. */
  taints: readonly string[]
  /** What pods cannot use: the part of this machine that exceeds the instance type, and the node's own reserve. */
  systemReserved: Readonly<Resources>
  kubeReserved: Readonly<Resources>
}

/** Processor time and memory. */
export interface Resources {
  /** In thousandths of a processor. */
  milliCpu: number
  memoryMiB: number
}

/** The size of this machine. */
export interface MachineSize {
  processors: number
  memoryMiB: number
}

/** The size of this machine, as the kubelet sees it. */
export function machineSize(): MachineSize {
  const kib = /^MemTotal:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]
  return { processors: availableParallelism(), memoryMiB: Math.floor(Number(kib) / 1024) }
}

/**
 * The share of an instance type's memory that the operating system sees. EC2 does not publish it; this is what
 * Karpenter assumes (its setting VM_MEMORY_OVERHEAD_PERCENT, 0.075 by default).
 */
const visibleMemory = 0.925

/**
 * The pods that a node of this type can have when each has an address of a network interface: one address of each
 * interface is the node's own, and two pods use the node's network (EKS user guide, choosing an instance type).
 */
export function defaultMaxPods({ networkInterfaces, addressesPerInterface }: InstanceType): number {
  return networkInterfaces * (addressesPerInterface - 1) + 2
}

/**
 * Resources that EKS's nodes reserve for the kubelet and the container runtime (nodeadm of amazon-eks-ami): 255 MiB
 * and 11 MiB per pod; 6 % of the first processor, 1 % of the second, 0.5 % of the next two and 0.25 % of the others.
 */
export function kubeReserved(processors: number, maxPods: number): Resources {
  const share = (index: number) => (index === 0 ? 60 : index === 1 ? 10 : index < 4 ? 5 : 2.5)
  const milliCpu = Array.from({ length: processors }, (_, index) => share(index)).reduce((a, b) => a + b, 0)
  return { milliCpu: Math.ceil(milliCpu), memoryMiB: 255 + 11 * maxPods }
}

/** Why this machine cannot be an instance of `type`; undefined if it can. */
export function exceeds(type: InstanceType, machine: MachineSize): string | undefined {
  if (type.processors > machine.processors) {
    return `${type.name} has ${type.processors} processors, this machine has ${machine.processors}`
  }
  if (type.memoryMiB * visibleMemory > machine.memoryMiB) {
    return `${type.name} has ${type.memoryMiB} MiB of memory, this machine has ${machine.memoryMiB}`
  }
  return undefined
}

/** Why a machine with this processor, as Node.js names it, cannot be an instance of `type`; undefined if it can. */
export function otherProcessor(type: InstanceType, processor: string): string | undefined {
  const architecture = processor === 'x64' ? 'x86_64' : processor
  if (type.architecture === architecture) return undefined
  return `${type.name} has a processor of the architecture ${type.architecture}, this machine has ${architecture}`
}

/**
 * The node that an instance becomes, with the capacity of its type and the settings of its user data.
 *
 * @throws TypeError when the user data contains an invalid NodeConfig.
 */
export function nodeSpec(
  instance: Instance,
  podSubnet: string,
  machine: MachineSize,
  region: string,
): NodeSpec {
  const settings: NodeConfig = parseUserData(instance.userData)
  const { type } = instance
  const maxPods = settings.maxPods ?? defaultMaxPods(type)
  return {
    instanceId: instance.id,
    name: instance.dnsName,
    address: instance.address,
    zone: instance.zone,
    instanceType: type.name,
    podSubnet,
    maxPods,
    capacity: {
      milliCpu: type.processors * 1000,
      memoryMiB: Math.floor(type.memoryMiB * visibleMemory),
    },
    labels: {
      ...settings.labels,
      'node.kubernetes.io/instance-type': type.name,
      'topology.kubernetes.io/region': region,
      'topology.kubernetes.io/zone': instance.zone,
    },
    taints: settings.taints,
    systemReserved: {
      milliCpu: Math.max(machine.processors - type.processors, 0) * 1000,
      memoryMiB: Math.max(machine.memoryMiB - Math.floor(type.memoryMiB * visibleMemory), 0),
    },
    kubeReserved: kubeReserved(type.processors, maxPods),
  }
}
