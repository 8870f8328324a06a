#!/usr/bin/env node
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import { reportFailure } from 'shared/errors'
import { parse } from 'yaml'

/** A schema of values.schema.json, as far as the table looks into it. */
interface ValueSchema {
  $ref?: string
  description?: string
  properties?: Record<string, ValueSchema>
  $defs?: Record<string, ValueSchema>
}

const BEGIN = '<!-- values: made by scripts/src/charts/chart-readme.ts -->'
const END = '<!-- end of values -->'

/**
 * Replaces what stands between the markers in a chart's README with a table of its values: each with its default
 * from `values.yaml` and its description from `values.schema.json`.
 *
 * @param readme - the README as it is
 * @returns the README as it should be
 * @throws TypeError when the README has no markers, or a value no description
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

/** A property's own description goes before that of the definition it refers to. */
function resolved(schema: ValueSchema, definitions: Readonly<Record<string, ValueSchema>>): ValueSchema {
  if (schema.$ref === undefined) return schema
  return { ...definitions[schema.$ref.replace('#/$defs/', '')], ...schema }
}

/**
 * The README of a chart as it is, and as its values make it.
 *
 * @param chart - directory of the chart
 */
export function chartReadme(chart: string): { present: string; wanted: string } {
  const read = (name: string) => readFileSync(join(chart, name), 'utf8')
  const present = read('README.md')
  const wanted = withValues(present, JSON.parse(read('values.schema.json')), parse(read('values.yaml')))
  return { present, wanted }
}

/** The charts whose README has a table of values. */
export const DOCUMENTED_CHARTS = ['fastify-app', 'karpenter-nodes'].map((name) =>
  join(REPOSITORY_ROOT, 'helm', name),
)

if (import.meta.main) {
  try {
    for (const chart of DOCUMENTED_CHARTS) writeFileSync(join(chart, 'README.md'), chartReadme(chart).wanted)
  } catch (error) {
    reportFailure(error)
  }
}
