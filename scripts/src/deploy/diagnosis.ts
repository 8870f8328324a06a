import type {
  CoreV1Api,
  CoreV1Event,
  V1ContainerStatus,
  V1Deployment,
  V1Pod,
  V1ReplicaSet,
} from '@kubernetes/client-node'

/** What keeps a rollout from getting ready, as far as the status of its objects tells. */
export interface Diagnosis {
  kind: 'pod' | 'replica set' | 'migration'
  name: string
  /** The one-word reason of kubelet, scheduler or controller, such as `ImagePullBackOff`. */
  reason: string
  message: string
  /** Whether waiting longer is pointless. */
  final: boolean
  /** The Secret that a container needs and that is absent or incomplete. An operator may still be making it. */
  missingSecret?: string
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

/**
 * The replica set of the template that `deployment` has now, the only one whose pods tell how a rollout goes:
 * those of older templates may be the very fault that the rollout mends. Undefined while the controller has
 * not yet acted on the newest template.
 */
export function currentReplicaSet(
  deployment: V1Deployment,
  replicaSets: readonly V1ReplicaSet[],
): V1ReplicaSet | undefined {
  const revision = 'deployment.kubernetes.io/revision'
  const { metadata, status } = deployment
  if ((status?.observedGeneration ?? 0) < (metadata?.generation ?? 0)) return undefined
  return replicaSets.find(
    (set) =>
      set.metadata?.ownerReferences?.some(({ uid }) => uid === metadata?.uid) &&
      set.metadata.annotations?.[revision] === metadata?.annotations?.[revision],
  )
}

/** What keeps pods from being made at all: an admission rule or a quota that refuses them. */
export function diagnoseReplicaSet(replicaSet: V1ReplicaSet): Diagnosis | undefined {
  const failure = replicaSet.status?.conditions?.find(
    ({ type, status }) => type === 'ReplicaFailure' && status === 'True',
  )
  if (failure === undefined) return undefined
  return {
    kind: 'replica set',
    name: replicaSet.metadata?.name ?? '',
    reason: failure.reason ?? '',
    message: failure.message ?? '',
    final: true,
  }
}

/** What keeps `pod` from being ready; undefined when it is ready, on its way out, or simply starting. */
export function diagnose(pod: V1Pod): Diagnosis | undefined {
  const name = pod.metadata?.name ?? ''
  if (pod.metadata?.deletionTimestamp !== undefined) return undefined
  for (const container of pod.status?.containerStatuses ?? []) {
    const diagnosis = diagnoseContainer(name, container)
    if (diagnosis !== undefined) return diagnosis
  }
  const unscheduled = pod.status?.conditions?.find(
    ({ type, status, reason }) => type === 'PodScheduled' && status === 'False' && reason === 'Unschedulable',
  )
  if (unscheduled === undefined) return undefined
  // A node may still be on its way: on AWS, Karpenter launches one for exactly such a pod.
  return { kind: 'pod', name, reason: 'Unschedulable', message: unscheduled.message ?? '', final: false }
}

/** A Job's pod that has not done its work, and how that shows; a pod that is at it shows nothing. */
export interface Migration {
  /** Whether it has still to succeed, or has failed: nothing of the release is changed before it has succeeded. */
  pending: boolean
  diagnosis?: Diagnosis
}

/**
 * How the migration before a rollout goes, by the newest of its pods; earlier attempts do not count.
 *
 * @param known names of pods that an earlier deployment left behind.
 */
export function diagnoseMigration(pods: readonly V1Pod[], known: ReadonlySet<string>): Migration {
  const newest = pods
    .filter(({ metadata }) => metadata?.deletionTimestamp === undefined && !known.has(metadata?.name ?? ''))
    .sort((a, b) => Number(b.metadata?.creationTimestamp) - Number(a.metadata?.creationTimestamp))[0]
  if (newest === undefined || newest.status?.phase === 'Succeeded') return { pending: false }
  const diagnosis = diagnose(newest)
  return {
    pending: true,
    ...(diagnosis === undefined ? {} : { diagnosis: { ...diagnosis, kind: 'migration' } }),
  }
}

function diagnoseContainer(name: string, container: V1ContainerStatus): Diagnosis | undefined {
  const { waiting, running } = container.state ?? {}
  const ended = container.lastState?.terminated ?? container.state?.terminated
  const logs = { container: container.name, previous: running !== undefined || waiting !== undefined }
  if (ended !== undefined && !container.ready) {
    const how = ended.reason === 'Error' ? `exited with code ${ended.exitCode}` : (ended.reason ?? '')
    return {
      kind: 'pod',
      name,
      reason: ended.reason === 'OOMKilled' ? 'OOMKilled' : (waiting?.reason ?? 'Crashed'),
      message: `the container ${how}${ended.message === undefined ? '' : `: ${ended.message}`}`,
      final: finalReasons.has(waiting?.reason ?? ''),
      logs,
    }
  }
  if (waiting?.reason !== undefined && finalReasons.has(waiting.reason)) {
    const message = waiting.message ?? ''
    const missingSecret = waiting.reason === 'CreateContainerConfigError' ? secretIn(message) : undefined
    return {
      kind: 'pod',
      name,
      reason: waiting.reason,
      message,
      final: true,
      ...(missingSecret === undefined ? {} : { missingSecret }),
    }
  }
  if (running !== undefined && !container.ready) {
    return {
      kind: 'pod',
      name,
      reason: 'NotReady',
      message: 'the container runs but its readiness probe does not succeed',
      final: false,
      logs: { container: container.name, previous: false },
    }
  }
  return undefined
}

/** The Secret that the kubelet misses, in its two ways to say so. */
function secretIn(message: string): string | undefined {
  const [, absent, incomplete] =
    /^secret "([^"]+)" not found$|^couldn't find key \S+ in Secret [^/]+\/(\S+)$/.exec(message) ?? []
  return absent ?? incomplete
}

const lastEvents = 5
const lastLogLines = 20

/**
 * What an operator would look up next: the last events, and the last lines a pod logged. What cannot be read
 * is told as such: a diagnosis must never stand in the way of the rollback.
 */
export async function describeDiagnosis(
  api: CoreV1Api,
  namespace: string,
  diagnosis: Diagnosis,
): Promise<string[]> {
  const lines = [
    `${diagnosis.kind} ${diagnosis.name}: ${diagnosis.reason}: ${diagnosis.message}`,
    '  last events:',
  ]
  for (const event of await readEvents(api, namespace, diagnosis.name)) lines.push(`    ${event}`)
  if (diagnosis.logs === undefined) return lines
  const { container, previous } = diagnosis.logs
  const log = await readLog(api, namespace, diagnosis.name, container, previous)
  lines.push(`  last lines logged${previous ? ' before it ended' : ''}:`)
  for (const line of log.trimEnd().split('\n')) lines.push(`    ${line}`)
  return lines
}

async function readEvents(api: CoreV1Api, namespace: string, name: string): Promise<string[]> {
  try {
    const { items } = await api.listNamespacedEvent({
      namespace,
      fieldSelector: `involvedObject.name=${name}`,
    })
    return items
      .sort(byTime)
      .slice(-lastEvents)
      .map(({ type, reason, message }) => `${type} ${reason}: ${message}`)
  } catch (error) {
    return [`(they cannot be read: ${firstLine(error)})`]
  }
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
    return `(its log cannot be read: ${firstLine(error)})`
  }
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? ''
}

function byTime(a: CoreV1Event, b: CoreV1Event): number {
  const time = (event: CoreV1Event) =>
    Number(event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp ?? 0)
  return time(a) - time(b)
}
