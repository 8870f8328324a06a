import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { HttpProblem } from '../../problems/http-problem.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Adds the 405 routes. Call it once, after all routes have been added. */
    refuseOtherMethods(): void
  }
}

/** Answers 405 with `Allow` if a path exists for other methods, where the router would answer 404. */
export default fp(
  async (app) => {
    const methods = new Map<string, Set<string>>()
    app.addHook('onRoute', ({ url, method }) => {
      const known = methods.get(url) ?? new Set()
      methods.set(url, known)
      for (const name of [method].flat()) known.add(name)
    })
    app.decorate('refuseOtherMethods', () => {
      for (const [url, known] of [...methods]) {
        const allow = [...known].sort().join(', ')
        const refuse = async (request: FastifyRequest) => {
          throw new HttpProblem(405, `${request.method} is not allowed here`, { headers: { allow } })
        }
        app.route({
          url,
          method: app.supportedMethods.filter((name) => !known.has(name)),
          schema: { hide: true },
          // Refused before the body is read.
          onRequest: refuse,
          handler: refuse,
        })
      }
    })
  },
  { name: 'methods', dependencies: ['errors'] },
)
