import fp from 'fastify-plugin'
import { sendProblem } from '../../problems/answer.ts'
import { Problem } from '../../problems/problem.ts'
import { whyUnrouted } from '../../problems/refusals.ts'

/** Gives every error that a client can get the same shape: problem details (RFC 9457). */
export default fp(
  async (app) => {
    app.addSchema(Problem)
    app.decorateRequest('failure', null)
    app.setErrorHandler(sendProblem)
    app.setNotFoundHandler((request, reply) => sendProblem(whyUnrouted(request), request, reply))
  },
  { name: 'errors' },
)
