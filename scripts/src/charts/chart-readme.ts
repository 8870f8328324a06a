#!/usr/bin/env node
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import { reportFailure } from 'shared/errors'
import { parse } from 'yaml'

/** The parts of a schema in values.schema.json that the table needs. */
interface ValueSchema {
  $ref?: string
  description?: string
  properties?: Record<string, ValueSchema>
  $defs?: Record<string, ValueSchema>
}

const BEGIN = '<!-- values: made by scripts/src/charts/chart-readme.ts -->'
const END = '<!-- end of values -->'

/**
 * Replaces the text between the markers in a chart's README by a table of its values, with their defaults from
 * `values.yaml` and their descriptions from `values.schema.json`.
 *
 * @param readme - the current README
 * @returns the updated README
 * @throws TypeError when the README lacks the markers, or a value lacks a description
 */
export function withValues(readme: string, schema: ValueSchema, defaults: unknown): string {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)]
  if (begin < 0 || end < begin) throw new TypeError(`the README lacks ${BEGIN} and ${END}`)
  const rows = leaves(schema, defaults, '', schema.$defs ?? {})
  const table = ['| value | default | meaning |', '| --- | --- | --- |', ...rows].join('\n')
  return `${readme.slice(0, begin)}${BEGIN}\n${table}\n${readme.slice(end)}`
}

function leaves(
  schema: ValueSchema,
  value: unknown,
  path: string,
  definitions: Readonly<Record<string, ValueSchema>>,
): string[] {
  const { properties, description } = resolved(schema, definitions)
  if (properties !== undefined) {
    const values = value as Record<string, unknown>
    return Object.entries(properties)
      .filter(([name]) => name in values)
      .flatMap(([name, property]) =>
        leaves(property, values[name], path === '' ? name : `${path}.${name}`, definitions),
      )
  }
  if (description === undefined) throw new TypeError(`${path} has no description`)
  return [`| \`${path}\` | \`${JSON.stringify(value)}\` | ${description.replaceAll('|', '\\|')} |`]
}

/** Resolves a reference. The property's own description takes precedence over the definition's. */
function resolved(schema: ValueSchema, definitions: Readonly<Record<string, ValueSchema>>): ValueSchema {
  if (schema.$ref === undefined) return schema
  return { ...definitions[schema.$ref.replace('#/$defs/', '')], ...schema }
}

/**
 * A chart's current README, and the one that matches its values.
 *
 * @param chart - directory of the chart
 */
export function chartReadme(chart: string): { current: string; expected: string } {
  const read = (name: string) => readFileSync(join(chart, name), 'utf8')
  const current = read('README.md')
  const expected = withValues(current, JSON.parse(read('values.schema.json')), parse(read('values.yaml')))
  return { current, expected }
}

/** The charts whose README has a table of values. */
export const DOCUMENTED_CHARTS = ['fastify-app', 'karpenter-nodes'].map((name) =>
  join(REPOSITORY_ROOT, 'helm', name),
)

if (import.meta.main) {
  try {
    for (const chart of DOCUMENTED_CHARTS)
      writeFileSync(join(chart, 'README.md'), chartReadme(chart).expected)
  } catch (error) {
    reportFailure(error)
  }
}
