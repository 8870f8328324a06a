import type { CoreV1Api, CoreV1Event, V1ContainerStatus, V1Pod } from '@kubernetes/client-node'

/** A pod that does not get ready, as far as its status tells why. */
export interface Ailment {
  pod: string
  /** The kubelet's or scheduler's one-word reason, such as `ImagePullBackOff`. */
  reason: string
  message: string
  /** Whether waiting longer is pointless. */
  final: boolean
  /** The container's logs are worth a look, those of its last life where it crashed. */
  logs?: { container: string; previous: boolean }
}

/** Waiting reasons that no amount of patience heals: something in the release itself is wrong. */
const finalReasons = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'InvalidImageName',
  'CreateContainerConfigError',
  'CreateContainerError',
  'CrashLoopBackOff',
  'RunContainerError',
])

/** What keeps `pod` from being ready; undefined when it is ready, on its way out, or simply starting. */
export function diagnose(pod: V1Pod): Ailment | undefined {
  const name = pod.metadata?.name ?? ''
  if (pod.metadata?.deletionTimestamp !== undefined) return undefined
  for (const container of pod.status?.containerStatuses ?? []) {
    const ailment = diagnoseContainer(name, container)
    if (ailment !== undefined) return ailment
  }
  const unscheduled = pod.status?.conditions?.find(
    ({ type, status, reason }) => type === 'PodScheduled' && status === 'False' && reason === 'Unschedulable',
  )
  if (unscheduled === undefined) return undefined
  // A node may still be on its way: on AWS, Karpenter launches one for exactly such a pod.
  return { pod: name, reason: 'Unschedulable', message: unscheduled.message ?? '', final: false }
}

function diagnoseContainer(pod: string, container: V1ContainerStatus): Ailment | undefined {
  const { waiting, running } = container.state ?? {}
  const ended = container.lastState?.terminated ?? container.state?.terminated
  const logs = { container: container.name, previous: running !== undefined || waiting !== undefined }
  if (ended !== undefined && !container.ready) {
    const how = ended.reason === 'Error' ? `exited with code ${ended.exitCode}` : (ended.reason ?? '')
    return {
      pod,
      reason: ended.reason === 'OOMKilled' ? 'OOMKilled' : (waiting?.reason ?? 'Crashed'),
      message: `the container ${how}${ended.message === undefined ? '' : `: ${ended.message}`}`,
      final: finalReasons.has(waiting?.reason ?? ''),
      logs,
    }
  }
  if (waiting?.reason !== undefined && finalReasons.has(waiting.reason)) {
    return { pod, reason: waiting.reason, message: waiting.message ?? '', final: true }
  }
  if (running !== undefined && !container.ready) {
    return {
      pod,
      reason: 'NotReady',
      message: 'the container runs but its readiness probe does not succeed',
      final: false,
      logs: { container: container.name, previous: false },
    }
  }
  return undefined
}

const lastEvents = 5
const lastLogLines = 20

/** What an operator would look up next: the pod's last events and the last lines it logged. */
export async function describeAilment(
  api: CoreV1Api,
  namespace: string,
  ailment: Ailment,
): Promise<string[]> {
  const lines = [`pod ${ailment.pod}: ${ailment.reason}: ${ailment.message}`, '  last events:']
  const { items } = await api.listNamespacedEvent({
    namespace,
    fieldSelector: `involvedObject.name=${ailment.pod}`,
  })
  for (const { type, reason, message } of items.sort(byTime).slice(-lastEvents)) {
    lines.push(`    ${type} ${reason}: ${message}`)
  }
  if (ailment.logs === undefined) return lines
  const { container, previous } = ailment.logs
  const log = await readLog(api, namespace, ailment.pod, container, previous)
  lines.push(`  last lines logged${previous ? ' before it ended' : ''}:`)
  for (const line of log.trimEnd().split('\n')) lines.push(`    ${line}`)
  return lines
}

async function readLog(
  api: CoreV1Api,
  namespace: string,
  name: string,
  container: string,
  previous: boolean,
): Promise<string> {
  try {
    return await api.readNamespacedPodLog({ namespace, name, container, previous, tailLines: lastLogLines })
  } catch (error) {
    return `(its log cannot be read: ${error instanceof Error ? error.message.split('\n')[0] : error})`
  }
}

function byTime(a: CoreV1Event, b: CoreV1Event): number {
  const time = (event: CoreV1Event) =>
    Number(event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp ?? 0)
  return time(a) - time(b)
}
