import swagger from '@fastify/swagger'
import fp from 'fastify-plugin'
import packageJson from '../../package.json' with { type: 'json' }

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

/** The contract: an OpenAPI 3.1 document made from the schemas that requests and answers are held against. */
export default fp(
  async (app) => {
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: packageJson.name,
          description: packageJson.description,
          version: packageJson.version,
          license: { name: packageJson.license, identifier: packageJson.license },
        },
        servers: [{ url: '/', description: 'Wherever this document was served.' }],
        tags: [
          { name: 'tasks', description: 'A task list.' },
          { name: 'load', description: 'Load to order; switched off in production.' },
          { name: 'service', description: 'The service itself.' },
        ],
      },
      // A parameter with a default may be left out; its type says that it is there, for so it is to the route.
      transform: ({ schema, url }) => ({
        url,
        schema: { ...schema, ...withoutDefaults(schema?.querystring) },
      }),
      refResolver: { buildLocalReference: ({ $id }) => String($id) },
    })
    let document: string | undefined
    app.get('/openapi.json', { schema: { hide: true } }, (_request, reply) => {
      document ??= JSON.stringify(app.swagger())
      return reply.type('application/json; charset=utf-8').send(document)
    })
  },
  { name: 'openapi' },
)
