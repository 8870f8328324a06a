import { setTimeout as sleep } from 'node:timers/promises'
import type {
  AppsV1Api,
  CoreV1Api,
  CoreV1Event,
  V1ContainerStatus,
  V1Deployment,
  V1Pod,
  V1ReplicaSet,
} from '@kubernetes/client-node'

/** Why a rollout does not become ready, according to the status of its objects. */
export interface Diagnosis {
  kind: 'pod' | 'replica set' | 'migration'
  name: string
  /** The reason that the kubelet, scheduler or controller gives, such as `ImagePullBackOff`. */
  reason: string
  message: string
  /** Whether waiting longer would not help. */
  permanent: boolean
  /** The missing or incomplete Secret that a container needs. An operator may still create it. */
  missingSecret?: string
  /** The container with the relevant log; `previous` is set when it restarted after a crash. */
  logs?: { container: string; previous: boolean }
}

/** Waiting reasons that time does not resolve, because the release itself is wrong. */
const permanentReasons = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'InvalidImageName',
  'CreateContainerConfigError',
  'CreateContainerError',
  'CrashLoopBackOff',
  'RunContainerError',
])

/**
 * The ReplicaSet of the Deployment's current template. Only its pods matter to a rollout: those of older templates may
 * have the very fault that the rollout fixes. Undefined until the controller has processed the current template.
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

/** Diagnoses pods that cannot be created, for example because of an admission policy or a quota. */
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
    permanent: true,
  }
}

/** Diagnoses a pod that is not ready; undefined when it is ready, terminating or still starting. */
export function diagnosePod(pod: V1Pod): Diagnosis | undefined {
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
  // Not permanent: on AWS, Karpenter launches a node for an unschedulable pod.
  return { kind: 'pod', name, reason: 'Unschedulable', message: unscheduled.message ?? '', permanent: false }
}

/**
 * Diagnoses the pods of the current template of each Deployment that a selector matches, permanent failures first.
 */
export async function diagnoseDeployments(
  { core, apps }: { core: CoreV1Api; apps: AppsV1Api },
  namespace: string,
  labelSelector: string,
): Promise<Diagnosis[]> {
  const { items: deployments } = await apps.listNamespacedDeployment({ namespace, labelSelector })
  if (deployments.length === 0) return []
  const { items: sets } = await apps.listNamespacedReplicaSet({ namespace, labelSelector })
  const diagnoses: Diagnosis[] = []
  for (const deployment of deployments) {
    const current = currentReplicaSet(deployment, sets)
    if (current === undefined) continue
    const hash = current.metadata?.labels?.['pod-template-hash']
    const { items: pods } = await core.listNamespacedPod({
      namespace,
      labelSelector: `${labelSelector},pod-template-hash=${hash}`,
    })
    diagnoses.push(
      ...[diagnoseReplicaSet(current) ?? [], ...pods.map((pod) => diagnosePod(pod) ?? [])].flat(),
    )
  }
  return diagnoses.sort((a, b) => Number(b.permanent) - Number(a.permanent))
}

/** A rollout is aborted when a pod stays in a permanent failure for this long, in milliseconds. */
const failureGracePeriod = 20_000
/**
 * The same for a pod that waits for the Secret of an ExternalSecret, because the operator needs time to read the store.
 * It is shorter than the chart's migration.timeoutSeconds (120 s): the failed Job's pod is deleted, and the reason with
 * it. In milliseconds.
 */
const secretGracePeriod = 100_000
const pollInterval = 1_000

/** Watches a rollout until it is stopped, or a permanent failure outlasts its grace period. */
export async function watchForPermanentFailure(
  diagnose: () => Promise<Diagnosis[]>,
  stop: AbortSignal,
): Promise<Diagnosis | undefined> {
  const failingSince = new Map<string, number>()
  while (!stop.aborted) {
    await sleep(pollInterval, undefined, { signal: stop }).catch(() => {})
    // A failed request says nothing about the pods, so wait for the next one.
    const diagnoses = stop.aborted ? undefined : await diagnose().catch(() => undefined)
    if (diagnoses === undefined) continue
    for (const name of failingSince.keys()) {
      if (!diagnoses.some((diagnosis) => diagnosis.name === name)) failingSince.delete(name)
    }
    for (const diagnosis of diagnoses.filter(({ permanent }) => permanent)) {
      const since = failingSince.get(diagnosis.name) ?? Date.now()
      failingSince.set(diagnosis.name, since)
      const gracePeriod = diagnosis.missingSecret === undefined ? failureGracePeriod : secretGracePeriod
      if (Date.now() - since >= gracePeriod) return diagnosis
    }
  }
  return undefined
}

/** The cause in a few words; the full diagnosis is printed before it. */
export function summarizeDiagnosis({ kind, name, reason, message }: Diagnosis): string {
  if (/ImagePull|InvalidImageName/.test(reason)) return 'the image cannot be pulled'
  const lines = message.trimEnd().split('\n')
  // The last line of its log is the error.
  if (kind === 'migration') return `the migration failed: ${lines.at(-1)}`
  return `${kind} ${name}: ${reason}, ${lines[0]}`
}

/** The state of the migration Job. */
export interface Migration {
  /** Whether it has not succeeded yet. Until it has, Helm changes nothing else in the release. */
  pending: boolean
  /** Why its pod fails; absent while the pod is running normally. */
  diagnosis?: Diagnosis
}

/**
 * Diagnoses the migration that precedes a rollout, by its newest pod. Earlier attempts do not count.
 *
 * @param earlierPods - names of the pods of earlier deployments
 */
export function diagnoseMigration(pods: readonly V1Pod[], earlierPods: ReadonlySet<string>): Migration {
  const newest = pods
    .filter(
      ({ metadata }) => metadata?.deletionTimestamp === undefined && !earlierPods.has(metadata?.name ?? ''),
    )
    .sort((a, b) => Number(b.metadata?.creationTimestamp) - Number(a.metadata?.creationTimestamp))[0]
  if (newest === undefined || newest.status?.phase === 'Succeeded') return { pending: false }
  const diagnosis = diagnosePod(newest)
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
      permanent: permanentReasons.has(waiting?.reason ?? ''),
      logs,
    }
  }
  if (waiting?.reason !== undefined && permanentReasons.has(waiting.reason)) {
    const message = waiting.message ?? ''
    const missingSecret = waiting.reason === 'CreateContainerConfigError' ? secretIn(message) : undefined
    return {
      kind: 'pod',
      name,
      reason: waiting.reason,
      message,
      permanent: true,
      ...(missingSecret === undefined ? {} : { missingSecret }),
    }
  }
  if (running !== undefined && !container.ready) {
    return {
      kind: 'pod',
      name,
      reason: 'NotReady',
      message: 'the container runs but its readiness probe does not succeed',
      permanent: false,
      logs: { container: container.name, previous: false },
    }
  }
  return undefined
}

/** The name of the Secret in the kubelet's messages about a missing Secret and a missing key. */
function secretIn(message: string): string | undefined {
  const [, absent, incomplete] =
    /^secret "([^"]+)" not found$|^couldn't find key \S+ in Secret [^/]+\/(\S+)$/.exec(message) ?? []
  return absent ?? incomplete
}

const lastEvents = 5
const lastLogLines = 20

/**
 * Formats a diagnosis with the last events and log lines. Events or logs that cannot be read are noted instead of
 * raising an error, because a diagnosis must not prevent the rollback.
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
    return [`(cannot be read: ${firstLine(error)})`]
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
    return `(the log cannot be read: ${firstLine(error)})`
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
