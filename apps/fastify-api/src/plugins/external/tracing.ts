import fp from 'fastify-plugin'
import type { Config } from '../../config.ts'

/** Sends a trace of every request to a collector, where there is one; without one nothing of it is even loaded. */
export default fp<{ config: Config }>(
  async (app, { config }) => {
    if (config.OTEL_EXPORTER_OTLP_ENDPOINT === undefined) return
    const { startTracing } = await import('../../tracing.ts')
    const { plugin, stop } = startTracing(config.OTEL_EXPORTER_OTLP_ENDPOINT, app.log)
    // Probes come every few seconds and no user waits for them: traces leave out what the metrics leave out.
    app.addHook('onRoute', (route) => {
      if (route.config?.disableMetrics === true) route.config = { ...route.config, otel: false }
    })
    await app.register(plugin)
    app.addHook('onClose', stop)
  },
  { name: 'tracing' },
)
