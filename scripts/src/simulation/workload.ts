import { ActionableError } from 'shared/errors'
import { INSTANCE_TYPES, type Resources } from './instance-types.ts'

/** What a simulation starts: how many pods, and about how many nodes they fill at the peak. */
export interface Size {
  nodes: number
  pods: number
}

/** The type of the nodes that the pods fill. */
const reference = INSTANCE_TYPES.find(({ name }) => name === 'c6g.xlarge')

/** Memory for each thousandth of a processor: the proportion of the service's requests (helm/fastify-app). */
export const MEBIBYTES_PER_MILLI_CPU = 128 / 100

/** The largest number of pods that a node can run. */
const mostPodsPerNode = reference?.maxPods ?? 0

/** More than this exceeds the memory of most machines. */
const mostPods = 50_000

/**
 * Reads `NODES` and `PODS`.
 *
 * @throws ActionableError when one is not a number in range, or a node would have too many pods.
 */
export function readSize(env: NodeJS.ProcessEnv): Size {
  const nodes = readNumber(env, 'NODES', 50, 5000)
  const pods = readNumber(env, 'PODS', nodes * 10, mostPods)
  if (pods < nodes || pods > nodes * mostPodsPerNode) {
    throw new ActionableError(
      `PODS is ${pods}, but ${nodes} nodes can have ${nodes} to ${nodes * mostPodsPerNode} pods`,
      `set PODS to ${nodes * 10}, or change NODES`,
    )
  }
  return { nodes, pods }
}

/**
 * Reads a positive whole number from the environment.
 *
 * @throws ActionableError when it is not one, or larger than `most`.
 */
export function readNumber(env: NodeJS.ProcessEnv, name: string, fallback: number, most: number): number {
  const text = env[name]
  if (text === undefined || text === '') return fallback
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= most) return value
  throw new ActionableError(`${name} is "${text}"`, `use a whole number from 1 to ${most}`)
}

/** The requests of each pod: as many pods as the pods per node of `size` fill the processors of a node. */
export function requestsOf({ nodes, pods }: Size): Resources {
  const milliCpu = Math.floor((reference?.allocatable.milliCpu ?? 0) / Math.ceil(pods / nodes))
  return { milliCpu, memoryMiB: Math.ceil(milliCpu * MEBIBYTES_PER_MILLI_CPU) }
}
