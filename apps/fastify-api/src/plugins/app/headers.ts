import fp from 'fastify-plugin'
import { REQUEST_ID_HEADER, traceIdOf } from '../../http/request-id.ts'

/**
 * Security headers of an API: no page may embed an answer, caches must not store it, and browsers must not guess its
 * type. The load balancer that terminates TLS adds Strict-Transport-Security. @fastify/helmet is not used, because it
 * takes as much CPU time as the rest of a request (docs/performance.md).
 */
const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
}

/** Adds the security headers and the request id to every answer. */
export default fp(
  async (app) => {
    app.addHook('onRequest', (request, reply, done) => {
      reply.headers(SECURITY_HEADERS).header(REQUEST_ID_HEADER, request.id)
      // Set here instead of in an onSend hook, which would be one more hook for each request.
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
