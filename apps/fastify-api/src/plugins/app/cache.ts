import { Counter, Gauge } from '@prometheus-io/client'
import fp from 'fastify-plugin'
import type { Cache, CacheEvents } from '../../cache/cache.ts'
import { memoryCache } from '../../cache/memory.ts'
import type { Config } from '../../config.ts'

declare module 'fastify' {
  interface FastifyInstance {
    cache: Cache
  }
}

/** Most memory that cached values take, in bytes: a thirtieth of a pod's 256 MiB. */
const MAX_BYTES = 8 * 1024 * 1024

/** Shared by all pods where there is a Redis, else of this process alone. */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    const requests = new Counter({
      name: 'cache_requests_total',
      help: 'Reads through the cache, by how they were answered.',
      labelNames: ['outcome'],
      registers: [app.metricsRegistry],
    })
    const events: CacheEvents = {
      onOutcome: (outcome) => requests.inc({ outcome }),
      onStoreDown: (error) => {
        up = 0
        app.log.warn({ err: error }, 'the shared cache does not answer: reads go on without it')
      },
      onStoreUp: () => {
        up = 1
        app.log.info('the shared cache answers')
      },
    }
    const serve = (cache: Cache) => {
      app.decorate('cache', cache)
      app.addHook('onClose', () => cache.close())
    }
    if (config.REDIS_URL === undefined) {
      serve(memoryCache({ maxBytes: MAX_BYTES }, events))
      return
    }
    let up = 0
    new Gauge({
      name: 'cache_store_up',
      help: 'Whether the shared cache answers.',
      registers: [app.metricsRegistry],
      collect() {
        this.set(up)
      },
    })
    const { redisCache } = await import('../../cache/redis.ts')
    serve(redisCache({ url: config.REDIS_URL, ca: config.REDIS_CA, maxBytes: MAX_BYTES }, events))
  },
  // After the tasks, so that it closes before them: what it loads comes from there.
  { name: 'cache', dependencies: ['metrics', 'tasks-store'] },
)
