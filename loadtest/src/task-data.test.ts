import t from 'tap'
import { checkTaskStore, deleteTasks } from './task-data.ts'
import { startService } from './test-servers.ts'

t.test('pods that share a store know each task', async (t) => {
  const service = await startService()
  t.teardown(service.close)
  await checkTaskStore(service.url, 'loadtest a')
  t.equal(service.tasks.size, 1)
})

t.test('pods with their own stores are reported', async (t) => {
  const service = await startService()
  t.teardown(service.close)
  let reads = 0
  service.taskStatus = ({ method }) => (method === 'GET' && ++reads === 3 ? 404 : undefined)
  await t.rejects(checkTaskStore(service.url, 'loadtest a'), {
    name: 'ActionableError',
    message: /a pod of .* does not know a task that another has created: it answers 404/,
    nextStep: /database/,
  })
})

t.test("only the run's own tasks are deleted, however many", async (t) => {
  const service = await startService()
  t.teardown(service.close)
  const create = (title: string) => {
    const id = `task-${service.tasks.size}`
    service.tasks.set(id, { id, title, status: 'open', version: 1 })
  }
  for (let index = 0; index < 250; index++) create(`loadtest a ${index}`)
  create('loadtest b 1')
  create('read about loadtest a 1')
  // One was deleted meanwhile.
  let deletions = 0
  service.taskStatus = ({ method }) => (method === 'DELETE' && ++deletions === 1 ? 404 : undefined)
  t.equal(await deleteTasks(service.url, 'loadtest a'), 250)
  t.same(
    [...service.tasks.values()].map(({ title }) => title),
    ['loadtest b 1', 'read about loadtest a 1'],
  )
})

t.test('a refusal names the request', async (t) => {
  const service = await startService()
  service.taskStatus = ({ method }) => (method === 'POST' ? 503 : undefined)
  await t.rejects(checkTaskStore(service.url, 'loadtest a'), { message: /^POST http.*tasks answers 503$/ })
  service.tasks.clear()
  service.tasks.set('task', { id: 'task', title: 'loadtest a 1', status: 'open', version: 1 })
  service.taskStatus = ({ method }) => (method === 'DELETE' ? 503 : undefined)
  await t.rejects(deleteTasks(service.url, 'loadtest a'), {
    message: /^DELETE http.*tasks.task answers 503$/,
  })
  service.taskStatus = () => 503
  await t.rejects(deleteTasks(service.url, 'loadtest a'), { message: /^GET http.* answers 503$/ })
  await service.close()
  await t.rejects(deleteTasks(service.url, 'loadtest a'), { message: /does not answer: .*ECONNREFUSED/ })
})
