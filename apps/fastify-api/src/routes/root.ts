import { hostname } from 'node:os'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import packageJson from '../../package.json' with { type: 'json' }
import type { Config } from '../config.ts'
import { problems } from '../problems/problem.ts'

const Identity = Type.Object({
  name: Type.String(),
  version: Type.String(),
  commit: Type.String({ description: 'Commit of the running build.' }),
  hostname: Type.String({ description: 'Host name; in Kubernetes, the name of the pod that answered.' }),
})

/** Identifies the service and the process. */
const root: FastifyPluginAsyncTypebox<{ config: Config }> = async (app, { config }) => {
  const identity = {
    name: packageJson.name,
    version: packageJson.version,
    commit: config.BUILD_COMMIT,
    hostname: hostname(),
  }

  app.get(
    '/',
    {
      schema: {
        tags: ['service'],
        operationId: 'identify',
        summary: 'Identify the service',
        response: { 200: Identity, ...problems(400, 429, 503) },
      },
    },
    () => identity,
  )
}

export default root
