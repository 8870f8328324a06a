/** Operations of the task API, with checks of their responses. Each VU owns the tasks that it created. */
import { isAnswered, type Response, send } from './requests.ts'

const path = '/api/v1/tasks'

/** Marks the tasks of this run, which the recorder deletes afterwards. */
const title = __ENV['RUN'] || 'loadtest'

/** Tasks that exist before the load: those that it only reads, so that their ETags stay, and those that it changes. */
export interface Seeds {
  read: KnownTask[]
  change: KnownTask[]
}

/** A task as this program last saw it. */
export interface KnownTask {
  id: string
  etag: string
}

interface TaskBody {
  id: string
  title: string
  status: string
}

interface PageBody {
  items: TaskBody[]
  nextCursor?: string
}

const seedCount = 10
const pageSize = 20
/** A VU with this many tasks deletes one before it creates another. */
const mostOwned = 5

const owned: KnownTask[] = []
let cursor: string | undefined

/** Creates the tasks that all VUs share, so that the first requests find tasks as well. */
export function createSeeds(): Seeds {
  const create = () =>
    Array.from({ length: seedCount }, () => known(post(undefined))).filter((task) => task !== undefined)
  return { read: create(), change: create() }
}

export function createTask(): void {
  if (owned.length >= mostOwned) {
    deleteTask()
    return
  }
  const task = known(post('create'))
  if (task !== undefined) owned.push(task)
}

/** Reads a task, every other time with the ETag of the version that is known. */
export function readTask(seeds: Seeds): void {
  const task = pick([...owned, ...seeds.read])
  if (task === undefined) {
    createTask()
    return
  }
  const { id, etag } = task
  if (Math.random() < 0.5) {
    const headers = { 'if-none-match': etag }
    send(
      'read unchanged',
      'GET',
      `${path}/${id}`,
      { headers },
      { status: 304, isRight: (it) => tagOf(it) === etag },
    )
    return
  }
  send('read', 'GET', `${path}/${id}`, {}, { isRight: (it) => tagOf(it) === etag && taskIn(it).id === id })
}

/** Reads the next page of the list, or the first one after the last. */
export function listTasks(): void {
  const position = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`
  const response = send(
    'list',
    'GET',
    `${path}?limit=${pageSize}${position}`,
    {},
    {
      isRight: (it) => {
        const { items, nextCursor } = it.json() as unknown as PageBody
        return items.length <= pageSize && (nextCursor === undefined || items.length === pageSize)
      },
    },
  )
  cursor = response.status === 200 ? (response.json() as unknown as PageBody).nextCursor : undefined
}

/** Changes a task of this VU, or a shared one in whatever version. */
export function updateTask(seeds: Seeds): void {
  const index = owned.length - 1
  const task = owned[index]
  const { id, etag } = task ?? { ...pick(seeds.change), etag: '*' }
  const status = pick(['open', 'doing', 'done'])
  const response = send(
    'update',
    'PATCH',
    `${path}/${id}`,
    { headers: { 'if-match': etag }, body: { status } },
    { isRight: (it) => tagOf(it) !== etag && taskIn(it).status === status },
  )
  if (task === undefined) return
  // Without an answer, it is unknown whether the task has changed.
  if (isAnswered(response)) owned[index] = { id: task.id, etag: tagOf(response) }
  else owned.splice(index, 1)
}

export function deleteTask(): void {
  const task = owned.shift()
  if (task === undefined) {
    createTask()
    return
  }
  send('delete', 'DELETE', `${path}/${task.id}`, { headers: { 'if-match': task.etag } }, { status: 204 })
}

export function summarizeTasks(): void {
  send(
    'summary',
    'GET',
    `${path}/summary`,
    {},
    {
      isRight: (it) => {
        const { total, open, doing, done } = it.json() as unknown as Record<string, number>
        return total === Number(open) + Number(doing) + Number(done)
      },
    },
  )
}

function post(operation: string | undefined): Response {
  const body = { title: `${title} ${Math.floor(Math.random() * 1e9)}`, notes: 'Created by a load test.' }
  return send(
    operation,
    'POST',
    path,
    { body },
    { status: 201, isRight: (it) => taskIn(it).title === body.title },
  )
}

function known(response: Response): KnownTask | undefined {
  return response.status === 201 ? { id: taskIn(response).id, etag: tagOf(response) } : undefined
}

function taskIn(response: Response): TaskBody {
  return response.json() as unknown as TaskBody
}

function tagOf({ headers }: Response): string {
  return headers['Etag'] ?? ''
}

function pick<T>(items: T[]): T | undefined {
  return items[Math.floor(Math.random() * items.length)]
}
