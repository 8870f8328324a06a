import { ActionableError, rootCause } from 'shared/errors'

interface TaskItem {
  id: string
  title: string
}

const path = '/api/v1/tasks'
const pageSize = 100
/** Requests at a time, few enough not to be a load themselves. */
const concurrency = 5
const timeoutMs = 10_000
/** Reads of a new task, each by a new connection, which reach another pod if there is one. */
const reads = 8

/**
 * Checks that all pods share one task store: a load of the task API fails when each pod has its own.
 *
 * @param title - marks the task that this creates, and that {@link deleteTasks} deletes
 * @throws ActionableError when they do not, or the task API does not work.
 */
export async function checkTaskStore(baseUrl: string, title: string): Promise<void> {
  const body = JSON.stringify({ title })
  const created = await request(baseUrl, path, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json' },
  })
  if (created.status !== 201) throw refused('POST', created)
  const { id } = (await created.json()) as TaskItem
  for (let read = 0; read < reads; read++) {
    const { status } = await request(baseUrl, `${path}/${id}`)
    if (status === 200) continue
    throw new ActionableError(
      `a pod of ${baseUrl} does not know a task that another has created: it answers ${status}`,
      'give the pods a database (docs/deploy.md), because without one each keeps its own tasks; or run the profile steady or scaling',
    )
  }
}

/**
 * Deletes all tasks whose title starts with `title`.
 *
 * @returns their number
 * @throws ActionableError when the service refuses.
 */
export async function deleteTasks(baseUrl: string, title: string): Promise<number> {
  let deleted = 0
  for (;;) {
    const page = await request(baseUrl, `${path}?title=${encodeURIComponent(title)}&limit=${pageSize}`)
    if (page.status !== 200) throw refused('GET', page)
    const { items } = (await page.json()) as { items: TaskItem[] }
    // The filter of the API also finds the text in the middle of a title.
    const own = items.filter((task) => task.title.startsWith(title))
    if (own.length === 0) return deleted
    const waiting = own.values()
    await Promise.all(
      Array.from({ length: concurrency }, async () => {
        for (const { id } of waiting) {
          const answer = await request(baseUrl, `${path}/${id}`, {
            method: 'DELETE',
            headers: { 'if-match': '*' },
          })
          // A request of the load that timed out may have deleted it meanwhile.
          if (answer.status !== 204 && answer.status !== 404) throw refused('DELETE', answer)
        }
      }),
    )
    deleted += own.length
  }
}

async function request(baseUrl: string, resource: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(`${baseUrl}${resource}`, {
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
      ...init,
      // A new connection for each request, because a connection may stay with one pod.
      headers: { ...init.headers, connection: 'close' },
    })
  } catch (error) {
    throw new ActionableError(`${baseUrl}${path} does not answer: ${rootCause(error)}`, nextStep, {
      cause: error,
    })
  }
}

const nextStep = 'see the log of the service; tasks of a load test have a title that starts with "loadtest"'

function refused(method: string, { url, status }: Response): ActionableError {
  return new ActionableError(`${method} ${url} answers ${status}`, nextStep)
}
