import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { EksException } from './exception.ts'
import type {
  AccessEntry,
  Addon,
  Cluster,
  Internal,
  Nodegroup,
  PodIdentityAssociation,
  Update,
} from './model.ts'

/** Everything that the API knows about its only cluster. */
export interface State {
  cluster?: Cluster
  accessEntries: AccessEntry[]
  addons: Addon[]
  nodegroups: Nodegroup[]
  podIdentityAssociations: PodIdentityAssociation[]
  updates: Update[]
}

/** Duration of creations, updates and deletions, in milliseconds: long enough for clients to observe them. */
const transitionTime = 300

/** When a transition that begins now completes. */
export const settlesAt = () => Date.now() + transitionTime

/** The current time in the format of the API: seconds since 1970. */
export const now = () => Date.now() / 1000

const empty = (): State => ({
  accessEntries: [],
  addons: [],
  nodegroups: [],
  podIdentityAssociations: [],
  updates: [],
})

/** The API's state, in memory and in a file that is replaced atomically at every change. */
export class Store {
  readonly #file: string
  #state: State
  #changes = 0

  constructor(file: string) {
    this.#file = file
    this.#state = read(file)
  }

  /** The current state, after completing all transitions that are due. */
  get state(): State {
    const state = this.#state
    const isDue = ({ settlesAt }: Internal) => settlesAt !== undefined && settlesAt <= Date.now()
    const isDeleted = (resource: Internal & { status: string }) =>
      resource.status === 'DELETING' && isDue(resource)
    if (state.cluster !== undefined && isDeleted(state.cluster)) this.#state = empty()
    else {
      state.addons = state.addons.filter((addon) => !isDeleted(addon))
      state.nodegroups = state.nodegroups.filter((group) => !isDeleted(group))
      for (const resource of [state.cluster, ...state.addons, ...state.nodegroups]) {
        if (resource === undefined || !isDue(resource)) continue
        resource.status = 'ACTIVE'
        delete resource.settlesAt
      }
      for (const update of state.updates.filter(isDue)) {
        update.status = 'Successful'
        delete update.settlesAt
      }
    }
    return this.#state
  }

  /** Number of changes since the start. */
  get changes(): number {
    return this.#changes
  }

  /** Changes the state, and writes it to the file before it returns. */
  change<Result>(action: (state: State) => Result): Result {
    const result = action(this.state)
    this.#changes++
    mkdirSync(dirname(this.#file), { recursive: true })
    writeFileSync(`${this.#file}.new`, JSON.stringify(this.#state, null, 2))
    renameSync(`${this.#file}.new`, this.#file)
    return result
  }

  /**
   * The cluster with this name.
   *
   * @throws EksException when it does not exist.
   */
  cluster(name: string): Cluster {
    const { cluster } = this.state
    if (cluster === undefined || cluster.name !== name) {
      throw new EksException('ResourceNotFoundException', `No cluster found for name: ${name}.`, {
        clusterName: name,
      })
    }
    return cluster
  }

  /**
   * The cluster with this name, whose node groups, add-ons and access entries can change.
   *
   * @throws EksException when it does not exist, or is being created or deleted.
   */
  liveCluster(name: string): Cluster {
    const cluster = this.cluster(name)
    if (cluster.status === 'CREATING' || cluster.status === 'DELETING') {
      throw new EksException('InvalidRequestException', `Cluster '${name}' is not in ACTIVE status`, {
        clusterName: name,
      })
    }
    return cluster
  }

  /**
   * The cluster with this name, whose own configuration can change.
   *
   * @throws EksException when it does not exist, or is being created, updated or deleted.
   */
  activeCluster(name: string): Cluster {
    const cluster = this.cluster(name)
    if (cluster.status !== 'ACTIVE') {
      throw new EksException(
        'ResourceInUseException',
        `Cluster ${name} is ${cluster.status}; it must be ACTIVE`,
        { clusterName: name },
      )
    }
    return cluster
  }
}

function read(file: string): State {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as State
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return empty()
    throw error
  }
}

/** A resource in the form of a response, without its internal fields. */
export function toResponse<Resource extends Internal>(resource: Resource): Omit<Resource, keyof Internal> {
  const {
    settlesAt: _settlesAt,
    clientRequestToken: _token,
    removed: _removed,
    nodesSince: _nodesSince,
    ...response
  } = resource
  return response
}

/** Whether a create request is a retry of the one that created `resource`. */
export function isRetry(resource: Internal, request: Internal): boolean {
  return (
    request.clientRequestToken !== undefined && request.clientRequestToken === resource.clientRequestToken
  )
}

/** One page of a list; `nextToken` is the start of the next page. */
export function page<Item>(
  items: readonly Item[],
  query: { maxResults?: number; nextToken?: string },
): { items: Item[]; nextToken?: string } {
  const start = Number(query.nextToken ?? 0)
  const end = start + (query.maxResults ?? 100)
  return { items: items.slice(start, end), ...(end < items.length ? { nextToken: String(end) } : {}) }
}
