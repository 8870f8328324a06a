/** `npm run reference`: writes the documents that follow from the code: the contract, and the table of settings. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { destination } from 'pino'
import { buildApp } from './src/app.ts'
import { ConfigSchema, loadConfig } from './src/config.ts'
import { PROBLEMS } from './src/problems/catalogue.ts'

const docs = join(import.meta.dirname, '..', '..', 'docs')
export const CONTRACT = join(docs, 'openapi.json')
export const SERVICE_PAGE = join(docs, 'service.md')

/** The OpenAPI document of the service with all its routes, as text. */
export async function contract(): Promise<string> {
  const app = await buildApp(
    loadConfig({ LOG_LEVEL: 'silent', LOAD_ENDPOINTS_ENABLED: 'true' }),
    destination(1),
  )
  const document = (await app.inject('/openapi.json')).json()
  await app.close()
  return `${JSON.stringify(document, null, 2)}\n`
}

interface Setting {
  default?: unknown
  description?: string
}

/** `page` with the tables of all settings and of all problems where their markers are. */
export function withTables(page: string): string {
  const rows = Object.entries(
    ConfigSchema.properties as Record<string, unknown> as Record<string, Setting>,
  ).map(([name, schema]) => {
    const value = schema.default === undefined ? '' : `\`${schema.default}\``
    return `| \`${name}\` | ${value} | ${schema.description} |`
  })
  const problems = Object.entries(PROBLEMS).map(
    ([name, { status, help }]) => `| \`${name}\` | ${status} | ${help} |`,
  )
  const settings = ['| variable | default | |', '| --- | --- | --- |', ...rows]
  return withTable(withTable(page, 'settings', settings), 'problems', [
    '| type | status | what to do |',
    '| --- | --- | --- |',
    ...problems,
  ])
}

function withTable(page: string, name: string, lines: string[]): string {
  return page.replace(
    new RegExp(`(<!-- ${name} -->\\n)[\\s\\S]*(\\n<!-- /${name} -->)`),
    (_all, begin, end) => begin + lines.join('\n') + end,
  )
}

/* c8 ignore start - what it writes is what is tested */
if (import.meta.main) {
  writeFileSync(CONTRACT, await contract())
  writeFileSync(SERVICE_PAGE, withTables(readFileSync(SERVICE_PAGE, 'utf8')))
}
/* c8 ignore stop */
