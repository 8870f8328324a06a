import { setTimeout as sleep } from 'node:timers/promises'
import {
  type KubeConfig,
  type KubernetesListObject,
  type KubernetesObject,
  Watch,
} from '@kubernetes/client-node'

/** Objects of a cluster to follow. */
export interface ObjectSource<T extends KubernetesObject> {
  kubeConfig: KubeConfig
  /** Path in the API. */
  path: string
  labelSelector?: string
  list: () => Promise<KubernetesListObject<T>>
}

/** Receives the objects and their changes. */
export interface ObjectObserver<T> {
  /** All objects that exist, at the start and after each interruption. */
  replace: (objects: T[]) => void
  /** An object that was created or changed. */
  set: (object: T) => void
  remove: (object: T) => void
  /** The API cannot be reached, or refuses. The objects are out of date until the next `replace`. */
  lost: (error: unknown) => void
}

/** After a failure, and between two watches, in milliseconds. */
const retryMs = 1_000
const pauseMs = 100
/** The API ends each watch after this time. The client gives up on one that is silent for 30 s, so that one hangs. */
const watchSeconds = 25

/** The API no longer has the changes since the last known version, so the objects must be listed again. */
const gone = 410

/**
 * Lists objects and then follows their changes until `signal` is aborted. After a lost connection, for example because
 * the API server restarts, or an expired version, it lists them again.
 */
export async function followObjects<T extends KubernetesObject>(
  source: ObjectSource<T>,
  observer: ObjectObserver<T>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const list = await source.list()
      observer.replace(list.items)
      let version = list.metadata?.resourceVersion
      while (!signal.aborted) {
        version = await watchFrom(version, source, observer, signal)
        await pause(pauseMs, signal)
      }
    } catch (error) {
      if (signal.aborted) return
      if (statusOf(error) !== gone) observer.lost(error)
      await pause(retryMs, signal)
    }
  }
}

/** Follows changes until the watch ends, and returns the version of the last one. */
async function watchFrom<T extends KubernetesObject>(
  version: string | undefined,
  { kubeConfig, path, labelSelector }: ObjectSource<T>,
  observer: ObjectObserver<T>,
  signal: AbortSignal,
): Promise<string | undefined> {
  let last = version
  let refusal: unknown
  const query = {
    resourceVersion: version,
    labelSelector,
    allowWatchBookmarks: true,
    timeoutSeconds: watchSeconds,
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const watch = await new Watch(kubeConfig).watch(
    path,
    query,
    (type: string, object: T & { code?: number; message?: string }) => {
      if (type === 'ERROR') {
        refusal = Object.assign(new Error(object.message), { statusCode: object.code })
        return
      }
      last = object.metadata?.resourceVersion ?? last
      if (type === 'DELETED') observer.remove(object)
      else if (type !== 'BOOKMARK') observer.set(object)
    },
    (error: unknown) => (isEnd(error) ? resolve() : reject(error)),
  )
  const stop = () => watch.abort()
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  try {
    await promise
  } finally {
    signal.removeEventListener('abort', stop)
  }
  if (refusal !== undefined) throw refusal
  return last
}

/** Whether a watch has ended in the usual way: the API or this program closed it. */
function isEnd(error: unknown): boolean {
  return !error || (error instanceof Error && error.name === 'AbortError')
}

function statusOf(error: unknown): unknown {
  return error instanceof Error && 'statusCode' in error ? error.statusCode : undefined
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined)
}
