import fp from 'fastify-plugin'
import { REQUEST_ID_HEADER, traceIdOf } from '../../http/request-id.ts'

/**
 * What an API tells browsers: nothing here is a page, nothing is to be kept, and all is what its type says. A
 * balancer that ends TLS adds Strict-Transport-Security for the name it serves. Not by @fastify/helmet, which
 * takes as long as the rest of a request to say the same (docs/performance.md).
 */
const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
}

/** What every answer carries: how to treat it, and the id under which its request is logged. */
export default fp(
  async (app) => {
    app.addHook('onRequest', (request, reply, done) => {
      reply.headers(SECURITY_HEADERS).header(REQUEST_ID_HEADER, request.id)
      // Here and not in a hook on sending: one hook less for each request.
      if (app.isDraining()) reply.header('connection', 'close')
      if (request.headers['traceparent'] !== undefined) {
        const traceId = traceIdOf(request.headers)
        if (traceId !== undefined) request.log.setBindings({ traceId })
      }
      done()
    })
  },
  { name: 'headers', dependencies: ['draining'] },
)
