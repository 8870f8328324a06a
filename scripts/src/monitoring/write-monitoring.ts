#!/usr/bin/env node
/**
 * Writes the files that are generated from other sources: the dashboards, and the rules that docker-compose.yml gives to
 * Prometheus. A test fails if they are not up to date.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { REPOSITORY_ROOT } from 'shared/environment'
import { reportFailure } from 'shared/errors'
import { parse, parseAllDocuments, stringify } from 'yaml'
import { readChartPrograms, renderChart } from '../charts/chart.ts'
import { dashboards, type Objectives } from './dashboards.ts'

const CHART = join(REPOSITORY_ROOT, 'helm', 'fastify-app')

/** The groups of a PrometheusRule, in the format of Prometheus' own rule files. */
export interface RuleGroups {
  groups: {
    name: string
    interval?: string
    rules: {
      record?: string
      alert?: string
      expr: string
      for?: string
      labels?: Record<string, string>
      annotations?: Record<string, string>
    }[]
  }[]
}

/** Renders a chart's PrometheusRule. */
export async function renderRules(
  env: NodeJS.ProcessEnv,
  chart: string,
  overrides: Record<string, unknown>,
): Promise<RuleGroups> {
  const manifests = await renderChart(readChartPrograms(env), chart, { files: [], overrides })
  const rules = parseAllDocuments(manifests)
    .map((document) => document.toJS() as { kind: string; spec: RuleGroups } | null)
    .find((object) => object?.kind === 'PrometheusRule')
  if (rules === undefined || rules === null) throw new TypeError(`${chart} renders no PrometheusRule`)
  return rules.spec
}

/** Values of the service's chart that enable all of its alerts. */
export const ALL_ALERTS = {
  image: { repository: 'registry.example/fastify-app', tag: 'check' },
  secret: { name: 'connections' },
  serviceMonitor: { enabled: true },
  prometheusRule: { enabled: true },
}

/**
 * All generated files: their content by their path in the repository.
 *
 * @throws ActionableError when Helm refuses the chart
 */
export async function generatedFiles(env: NodeJS.ProcessEnv): Promise<ReadonlyMap<string, string>> {
  const { prometheusRule } = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as {
    prometheusRule: Objectives
  }
  const files = new Map<string, string>()
  for (const [path, dashboard] of dashboards(prometheusRule)) {
    files.set(path, `${JSON.stringify(dashboard, null, 2)}\n`)
  }
  const rules = await renderRules(env, CHART, ALL_ALERTS)
  files.set(
    'compose/rules.yaml',
    `# Written by scripts/src/monitoring/write-monitoring.ts from helm/fastify-app/templates/prometheusrule.yaml.\n${stringify(rules, { lineWidth: 0 })}`,
  )
  return files
}

if (import.meta.main) {
  generatedFiles(process.env)
    .then((files) => {
      for (const [path, content] of files) writeFileSync(join(REPOSITORY_ROOT, path), content)
    })
    .catch(reportFailure)
}
