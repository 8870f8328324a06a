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

/** Most memory for cached values, in bytes: 3 % of a pod's 256 MiB. */
const MAX_BYTES = 8 * 1024 * 1024

/** Provides the cache: Redis, which all pods share, or else the memory of this process. */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    const requests = new Counter({
      name: 'cache_requests_total',
      help: 'Reads through the cache, by outcome.',
      labelNames: ['outcome'],
      registers: [app.metricsRegistry],
    })
    const events: CacheEvents = {
      onOutcome: (outcome) => requests.inc({ outcome }),
      onStoreDown: (error) => {
        up = 0
        app.log.warn({ err: error }, 'the shared cache does not answer: reads continue without it')
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
  // After the task store, so that the cache, which loads from the store, closes first.
  { name: 'cache', dependencies: ['metrics', 'tasks-store'] },
)
