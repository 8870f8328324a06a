/** `npm run reference`: generates the OpenAPI document, and the tables of settings and problems in docs/service.md. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { destination } from 'pino'
import { buildApp } from './src/app.ts'
import { ConfigSchema, loadConfig } from './src/config.ts'
import { PROBLEMS } from './src/problems/catalogue.ts'

const docs = join(import.meta.dirname, '..', '..', 'docs')
export const CONTRACT = join(docs, 'openapi.json')
export const SERVICE_PAGE = join(docs, 'service.md')

/** The OpenAPI document of the service with all routes, as text. */
export async function contract(): Promise<string> {
  const app = await buildApp(
    loadConfig({
      LOG_LEVEL: 'silent',
      LOAD_ENDPOINTS_ENABLED: 'true',
      // A busy machine must not make the service refuse the request below.
      PRESSURE_MAX_EVENT_LOOP_DELAY_MS: '0',
    }),
    destination(1),
  )
  const { statusCode, body } = await app.inject('/openapi.json')
  await app.close()
  /* c8 ignore next - no request can be refused */
  if (statusCode !== 200) throw new Error(`the service answered ${statusCode}: ${body}`)
  return `${JSON.stringify(JSON.parse(body), null, 2)}\n`
}

interface Setting {
  default?: unknown
  description?: string
}

/** Replaces the tables of settings and problems between their markers. */
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

/* c8 ignore start - tests cover the functions that it calls */
if (import.meta.main) {
  writeFileSync(CONTRACT, await contract())
  writeFileSync(SERVICE_PAGE, withTables(readFileSync(SERVICE_PAGE, 'utf8')))
}
/* c8 ignore stop */
