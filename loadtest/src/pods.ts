import type { V1Pod } from '@kubernetes/client-node'

/** What a change of a pod means, in words. */
export interface PodChange {
  kind: 'pod' | 'problem'
  text: string
  /** Whether a pod that was created during the recording became ready for the first time. */
  isNewAndReady: boolean
}

/** When a step of a pod was seen, in milliseconds since the epoch. */
interface TrackedPod {
  name: string
  /** Undefined for a pod that existed at the start of the recording. */
  created: number | undefined
  scheduled: number | undefined
  started: number | undefined
  isReady: boolean
  wasReady: boolean
  isPending: boolean
  isUnschedulable: boolean
}

/** Follows the pods of a Deployment. It forgets the pods that are gone. */
export class Pods {
  readonly #pods = new Map<string, TrackedPod>()

  /** Number of pods, whatever their state. */
  get count(): number {
    return this.#pods.size
  }

  get pending(): number {
    return [...this.#pods.values()].filter(({ isPending }) => isPending).length
  }

  /** Takes the pods that exist at the start of the recording. */
  begin(pods: V1Pod[], time: number): void {
    for (const pod of pods) this.set(pod, time)
    for (const tracked of this.#pods.values()) tracked.created = undefined
  }

  /** Takes all pods that exist now, after changes may have been missed. */
  replace(pods: V1Pod[], time: number): PodChange[] {
    const present = new Set(pods.map(uidOf))
    const removed = [...this.#pods.keys()].filter((uid) => !present.has(uid))
    return [...removed.flatMap((uid) => this.#remove(uid)), ...pods.flatMap((pod) => this.set(pod, time))]
  }

  remove(pod: V1Pod): PodChange[] {
    return this.#remove(uidOf(pod))
  }

  set(pod: V1Pod, time: number): PodChange[] {
    const { phase = '', conditions = [], containerStatuses = [] } = pod.status ?? {}
    // Other pods of the release, for example of its migration, belong to Jobs.
    if (!pod.metadata?.ownerReferences?.some(({ kind }) => kind === 'ReplicaSet')) return []
    // An evicted pod stays until somebody deletes it, but no longer runs.
    if (phase === 'Failed' || phase === 'Succeeded') return this.#remove(uidOf(pod))
    const before = this.#pods.get(uidOf(pod))
    const condition = (type: string) => conditions.find((candidate) => candidate.type === type)
    const isTrue = (type: string) => condition(type)?.status === 'True'
    const now: TrackedPod = {
      name: String(pod.metadata.name),
      created: before === undefined ? time : before.created,
      scheduled: before?.scheduled ?? (isTrue('PodScheduled') ? time : undefined),
      started: before?.started ?? (containerStatuses.some(({ state }) => state?.running) ? time : undefined),
      isReady: isTrue('Ready'),
      wasReady: isTrue('Ready') || (before?.wasReady ?? false),
      isPending: phase === 'Pending',
      isUnschedulable: condition('PodScheduled')?.reason === 'Unschedulable',
    }
    this.#pods.set(uidOf(pod), now)
    return describeChange(before, now, time, pod.metadata.deletionTimestamp !== undefined)
  }

  #remove(uid: string): PodChange[] {
    const pod = this.#pods.get(uid)
    if (pod === undefined) return []
    this.#pods.delete(uid)
    return [change('pod', `pod ${pod.name} is gone`)]
  }
}

function describeChange(
  before: TrackedPod | undefined,
  now: TrackedPod,
  time: number,
  isTerminating: boolean,
): PodChange[] {
  if (now.isReady && !before?.wasReady) {
    const { created, scheduled = time, started = time } = now
    if (created === undefined) return [change('pod', `pod ${now.name} is ready`)]
    const after = (moment: number) => `${((moment - created) / 1_000).toFixed(1)} s`
    const text = `pod ${now.name} is ready ${after(time)} after it was created (scheduled ${after(scheduled)}, started ${after(started)})`
    return [{ ...change('pod', text), isNewAndReady: true }]
  }
  if (now.isUnschedulable && !before?.isUnschedulable)
    return [change('pod', `pod ${now.name} waits for a node`)]
  if (before?.isReady && !now.isReady && !isTerminating) {
    return [change('problem', `pod ${now.name} is no longer ready`)]
  }
  return []
}

function change(kind: PodChange['kind'], text: string): PodChange {
  return { kind, text, isNewAndReady: false }
}

function uidOf({ metadata }: V1Pod): string {
  return metadata?.uid ?? ''
}
