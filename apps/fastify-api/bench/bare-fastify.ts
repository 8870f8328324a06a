/** Bare Fastify: the JSON of `GET /` with its schema; no plugins, no log. */
import { hostname } from 'node:os'
import Fastify from 'fastify'
import { Type } from 'typebox'
import packageJson from '../package.json' with { type: 'json' }

const identity = {
  name: packageJson.name,
  version: packageJson.version,
  commit: 'unknown',
  hostname: hostname(),
}
const response = {
  200: Type.Object({
    name: Type.String(),
    version: Type.String(),
    commit: Type.String(),
    hostname: Type.String(),
  }),
}

const app = Fastify()
app.get('/', { schema: { response } }, () => identity)
await app.listen({ port: Number(process.env['PORT']), host: '127.0.0.1' })
