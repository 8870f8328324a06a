import { hostname } from 'node:os'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import packageJson from '../../package.json' with { type: 'json' }
import { problems } from '../plugins/errors.ts'

const Identity = Type.Object({
  name: Type.String(),
  version: Type.String(),
  hostname: Type.String({ description: 'In Kubernetes, the name of the pod that answered.' }),
})

/** Says who answers. */
const root: FastifyPluginAsyncTypebox = async (app) => {
  const identity = { name: packageJson.name, version: packageJson.version, hostname: hostname() }

  app.get(
    '/',
    {
      schema: {
        tags: ['service'],
        operationId: 'identify',
        summary: 'Who answers',
        response: { 200: Identity, ...problems(400, 429, 503) },
      },
    },
    () => identity,
  )
}

export default root
