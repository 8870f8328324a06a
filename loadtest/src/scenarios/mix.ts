import { send } from './requests.ts'
import {
  createTask,
  deleteTask,
  listTasks,
  readTask,
  type Seeds,
  summarizeTasks,
  updateTask,
} from './tasks.ts'

/** How often each operation is sent, in percent: mostly reads, as in a task list that people use. */
const tasks: [share: number, operation: (seeds: Seeds) => void][] = [
  [35, readTask],
  [15, listTasks],
  [8, summarizeTasks],
  [8, createTask],
  [8, updateTask],
  [6, deleteTask],
]
const load: typeof tasks = [
  [15, () => send('work', 'GET', '/api/v1/work?ms=8')],
  [5, () => send('delay', 'GET', '/api/v1/delay/50')],
]

const operations = __ENV['LOAD_ROUTES'] === 'true' ? [...tasks, ...load] : tasks
const sum = operations.reduce((total, [share]) => total + share, 0)

/** Sends one request of the mix, chosen at random. */
export function mix(seeds: Seeds): void {
  let rest = Math.random() * sum
  for (const [share, operation] of operations) {
    rest -= share
    if (rest < 0) {
      operation(seeds)
      return
    }
  }
}
