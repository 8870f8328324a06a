import { Gauge } from '@prometheus-io/client'
import fp from 'fastify-plugin'
import type { Config } from '../../config.ts'
import { Dependency } from '../../readiness.ts'
import { memoryTaskRepository } from '../../tasks/memory.ts'
import type { TaskRepository } from '../../tasks/repository.ts'

declare module 'fastify' {
  interface FastifyInstance {
    tasks: TaskRepository
  }
}

/** Provides the task store: PostgreSQL, which readiness depends on, or else the memory of this process. */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    if (config.DATABASE_URL === undefined) {
      app.decorate('tasks', memoryTaskRepository())
      return
    }
    // Loaded only with a database, because the driver adds 20 ms to the start.
    const { postgresTaskRepository } = await import('../../tasks/postgres.ts')
    const tasks = postgresTaskRepository({
      url: config.DATABASE_URL,
      poolSize: config.DATABASE_POOL_SIZE,
      ca: config.DATABASE_CA,
      onDown: (error) =>
        app.log.warn({ err: error }, 'the database does not work: calls are retried, then refused'),
      onUp: (failures) => app.log.info({ failures }, 'the database answers again'),
    })
    app.decorate('tasks', tasks)

    const database = new Dependency(() => tasks.check(), config.DATABASE_READY_GRACE_MS)
    app.addReadiness('database', () => database.ready)
    const following = database.follow()

    new Gauge({
      name: 'database_up',
      help: 'Whether the last check of the database succeeded.',
      registers: [app.metricsRegistry],
      collect() {
        this.set(database.answering ? 1 : 0)
      },
    })
    new Gauge({
      name: 'database_pool_connections',
      help: 'Connections of the pool by state, and calls that wait for one.',
      labelNames: ['state'],
      registers: [app.metricsRegistry],
      collect() {
        const { total, idle, waiting } = tasks.pool()
        this.set({ state: 'busy' }, total - idle)
        this.set({ state: 'idle' }, idle)
        this.set({ state: 'waiting' }, waiting)
      },
    })

    app.addHook('onClose', async () => {
      database.stop()
      await following
      await tasks.close()
    })
  },
  { name: 'tasks-store', dependencies: ['draining', 'metrics'] },
)
