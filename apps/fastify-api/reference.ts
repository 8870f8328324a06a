/** `npm run reference`: writes the documents that follow from the code: the contract, and the table of settings. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { destination } from 'pino'
import { buildApp } from './src/app.ts'
import { ConfigSchema, loadConfig } from './src/config.ts'

const docs = join(import.meta.dirname, '..', '..', 'docs')
export const CONTRACT = join(docs, 'openapi.json')
export const SERVICE_PAGE = join(docs, 'service.md')

/** The OpenAPI document of the service with all its routes, as text. */
export async function contract(): Promise<string> {
  const app = await buildApp(
    loadConfig({ LOG_LEVEL: 'silent', LOAD_ENDPOINTS_ENABLED: 'true' }),
    destination(1),
  )
  await app.ready()
  const document = app.swagger()
  await app.close()
  return `${JSON.stringify(document, null, 2)}\n`
}

interface Setting {
  default?: unknown
  description?: string
}

/** `page` with the table of all settings where its markers are. */
export function withSettings(page: string): string {
  const rows = Object.entries(
    ConfigSchema.properties as Record<string, unknown> as Record<string, Setting>,
  ).map(([name, schema]) => {
    const value = schema.default === undefined ? '' : `\`${schema.default}\``
    return `| \`${name}\` | ${value} | ${schema.description} |`
  })
  const table = ['| variable | default | |', '| --- | --- | --- |', ...rows].join('\n')
  return page.replace(
    /(<!-- settings -->\n)[\s\S]*(\n<!-- \/settings -->)/,
    `$1${table.replaceAll('$', '$$$$')}$2`,
  )
}

/* c8 ignore start - what it writes is what is tested */
if (import.meta.main) {
  writeFileSync(CONTRACT, await contract())
  writeFileSync(SERVICE_PAGE, withSettings(readFileSync(SERVICE_PAGE, 'utf8')))
}
/* c8 ignore stop */
