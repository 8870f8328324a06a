/** Bare Node: the JSON of `GET /` without a framework. */
import { createServer } from 'node:http'
import { hostname } from 'node:os'
import packageJson from '../package.json' with { type: 'json' }

const identity = {
  name: packageJson.name,
  version: packageJson.version,
  commit: 'unknown',
  hostname: hostname(),
}

createServer((_request, response) => {
  const body = JSON.stringify(identity)
  response.writeHead(200, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
  })
  response.end(body)
}).listen(Number(process.env['PORT']), '127.0.0.1')
