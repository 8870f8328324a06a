import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { EksFailure } from './failure.ts'
import type {
  AccessEntry,
  Addon,
  Cluster,
  Hidden,
  Nodegroup,
  PodIdentityAssociation,
  Update,
} from './model.ts'

/** Everything the API knows of its one cluster. */
export interface State {
  cluster?: Cluster
  accessEntries: AccessEntry[]
  addons: Addon[]
  nodegroups: Nodegroup[]
  podIdentityAssociations: PodIdentityAssociation[]
  updates: Update[]
}

/** How long creating, changing and deleting take, in milliseconds: long enough to be seen, short enough to wait for. */
const settleTime = 300

/** When something that begins now is over. */
export const settlesAt = () => Date.now() + settleTime

/** The present as the API tells time: seconds since 1970. */
export const now = () => Date.now() / 1000

const empty = (): State => ({
  accessEntries: [],
  addons: [],
  nodegroups: [],
  podIdentityAssociations: [],
  updates: [],
})

/** The state of the API, in memory and in a file that always holds a whole version of it. */
export class Store {
  readonly #file: string
  #state: State

  constructor(file: string) {
    this.#file = file
    this.#state = read(file)
  }

  /** The state now, with all that has been creating or deleting for long enough done. */
  get state(): State {
    const state = this.#state
    const isOver = ({ settlesAt }: Hidden) => settlesAt !== undefined && settlesAt <= Date.now()
    const isGone = (resource: Hidden & { status: string }) =>
      resource.status === 'DELETING' && isOver(resource)
    if (state.cluster !== undefined && isGone(state.cluster)) this.#state = empty()
    else {
      state.addons = state.addons.filter((addon) => !isGone(addon))
      state.nodegroups = state.nodegroups.filter((group) => !isGone(group))
      for (const resource of [state.cluster, ...state.addons, ...state.nodegroups]) {
        if (resource === undefined || !isOver(resource)) continue
        resource.status = 'ACTIVE'
        delete resource.settlesAt
      }
      for (const update of state.updates.filter(isOver)) {
        update.status = 'Successful'
        delete update.settlesAt
      }
    }
    return this.#state
  }

  /** Changes the state and writes it down before anyone is told. */
  change<Result>(action: (state: State) => Result): Result {
    const result = action(this.state)
    mkdirSync(dirname(this.#file), { recursive: true })
    writeFileSync(`${this.#file}.new`, JSON.stringify(this.#state, null, 2))
    renameSync(`${this.#file}.new`, this.#file)
    return result
  }

  /**
   * The cluster of this name.
   *
   * @throws EksFailure when there is none.
   */
  cluster(name: string): Cluster {
    const { cluster } = this.state
    if (cluster === undefined || cluster.name !== name) {
      throw new EksFailure('ResourceNotFoundException', `No cluster found for name: ${name}.`, {
        clusterName: name,
      })
    }
    return cluster
  }

  /**
   * The cluster of this name, if what belongs to it can change.
   *
   * @throws EksFailure when there is none, or it is not yet or no longer there.
   */
  liveCluster(name: string): Cluster {
    const cluster = this.cluster(name)
    if (cluster.status === 'CREATING' || cluster.status === 'DELETING') {
      throw new EksFailure('InvalidRequestException', `Cluster '${name}' is not in ACTIVE status`, {
        clusterName: name,
      })
    }
    return cluster
  }

  /**
   * The cluster of this name, if it can change itself.
   *
   * @throws EksFailure when there is none, or it is busy.
   */
  idleCluster(name: string): Cluster {
    const cluster = this.cluster(name)
    if (cluster.status !== 'ACTIVE') {
      throw new EksFailure(
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

/** A resource as the API shows it: without what only the API itself knows. */
export function shown<Resource extends Hidden>(resource: Resource): Omit<Resource, keyof Hidden> {
  const { settlesAt: _settlesAt, clientRequestToken: _token, ...visible } = resource
  return visible
}

/** Whether a request to create is the one that made `resource`, sent again by a client that missed the answer. */
export function isRepeat(resource: Hidden, request: Hidden): boolean {
  return (
    request.clientRequestToken !== undefined && request.clientRequestToken === resource.clientRequestToken
  )
}

/** One page of a list; `nextToken` is where the next begins. */
export function page<Item>(
  items: readonly Item[],
  query: { maxResults?: number; nextToken?: string },
): { items: Item[]; nextToken?: string } {
  const start = Number(query.nextToken ?? 0)
  const end = start + (query.maxResults ?? 100)
  return { items: items.slice(start, end), ...(end < items.length ? { nextToken: String(end) } : {}) }
}
