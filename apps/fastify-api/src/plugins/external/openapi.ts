import Fastify, { type FastifyInstance, type RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import packageJson from '../../../package.json' with { type: 'json' }

interface Parameters {
  properties: Record<string, { default?: unknown }>
  required?: string[]
}

function withoutDefaults(querystring: unknown) {
  if (querystring === undefined) return {}
  const { properties, required = [], ...more } = querystring as Parameters
  const needed = required.filter((name) => properties[name]?.default === undefined)
  return { querystring: { ...more, properties, required: needed } }
}

/** Generates the OpenAPI document of these routes as JSON, by registering them on an app that never listens. */
async function describe(routes: readonly RouteOptions[], schemas: Record<string, unknown>): Promise<string> {
  const { default: swagger } = await import('@fastify/swagger')
  const app = Fastify({ exposeHeadRoutes: false })
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: packageJson.name,
        description: packageJson.description,
        version: packageJson.version,
        license: { name: packageJson.license, identifier: packageJson.license },
      },
      servers: [{ url: '/', description: 'The server of this document.' }],
      tags: [
        { name: 'tasks', description: 'A task list.' },
        { name: 'load', description: 'Load on demand; disabled in production.' },
        { name: 'service', description: 'The service itself.' },
      ],
    },
    // Clients may omit a parameter that has a default. The schema requires it because the route always gets it.
    transform: ({ schema, url }) => ({
      url,
      schema: { ...schema, ...withoutDefaults(schema?.querystring) },
    }),
    refResolver: { buildLocalReference: ({ $id }) => String($id) },
  })
  // This app serves no requests, so it needs no validators, serialisers and handlers.
  app.setValidatorCompiler(() => Boolean)
  app.setSerializerCompiler(() => String)
  for (const schema of Object.values(schemas)) app.addSchema(schema)
  for (const { method, url, schema = {} } of routes) app.route({ method, url, schema, handler: Boolean })
  await app.ready()
  return JSON.stringify(app.swagger())
}

/**
 * Serves the contract: an OpenAPI 3.1 document generated from the schemas of the routes. It is generated for the first
 * request, because few processes ever serve it and @fastify/swagger would take a tenth of the start to load.
 */
export default fp(
  async (app) => {
    const routes: RouteOptions[] = []
    const contexts: FastifyInstance[] = [app]
    app.addHook('onRoute', (route) => {
      if (route.method !== 'HEAD' && route.schema?.hide !== true) routes.push(route)
    })
    app.addHook('onRegister', (context) => {
      contexts.push(context)
    })
    let document: Promise<string> | undefined
    app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) => {
      document ??= describe(routes, Object.assign({}, ...contexts.map((context) => context.getSchemas())))
      return reply.type('application/json; charset=utf-8').send(await document)
    })
  },
  { name: 'openapi' },
)
