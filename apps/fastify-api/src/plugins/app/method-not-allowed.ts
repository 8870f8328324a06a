import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { HttpProblem } from '../../problems/http-problem.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** To be called once, when all routes are there: tells a path that has other methods from one that has none. */
    refuseOtherMethods(): void
  }
}

/** Answers 405 with `Allow`, where the router would say that there is nothing. */
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
          throw new HttpProblem(405, `${request.method} is not possible here`, { headers: { allow } })
        }
        app.route({
          url,
          method: app.supportedMethods.filter((name) => !known.has(name)),
          schema: { hide: true },
          // Before the body is read: there is nothing it could be for.
          onRequest: refuse,
          handler: refuse,
        })
      }
    })
  },
  { name: 'methods', dependencies: ['errors'] },
)
