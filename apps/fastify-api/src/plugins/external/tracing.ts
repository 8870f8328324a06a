import fp from 'fastify-plugin'
import type { Config } from '../../config.ts'

/** Sends traces of all requests to a collector, if one is configured. Otherwise no tracing code is loaded. */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    if (config.OTEL_EXPORTER_OTLP_ENDPOINT === undefined) return
    const { startTracing } = await import('../../tracing.ts')
    const { plugin, stop } = startTracing(config.OTEL_EXPORTER_OTLP_ENDPOINT, app.log)
    // Probes are neither counted nor traced: they arrive every few seconds, and no user waits for them.
    app.addHook('onRoute', (route) => {
      if (route.config?.disableMetrics === true) route.config = { ...route.config, otel: false }
    })
    await app.register(plugin)
    app.addHook('onClose', stop)
  },
  { name: 'tracing' },
)
