#!/usr/bin/env node
import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { Command } from 'commander'
import { readBoxConfig } from 'shared/box'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { openApiPath } from 'shared/tools'
import {
  type ChartPrograms,
  type ChartValues,
  lintChart,
  readChartPrograms,
  renderChart,
  runTool,
} from './chart.ts'
import { definitionFiles } from './custom-resource-definitions.ts'
import { storeCustomResourceSchemas, storeKubernetesSchemas } from './kubernetes-schemas.ts'

/** Each chart with a field in its manifests that {@link checkChart} misspells. */
export const CHARTS = { 'fastify-app': 'readinessProbe', 'karpenter-nodes': 'nodeClassRef' } as const

/** Values that the deployment sets, and stand-ins for production's database and certificate, which depend on the account. */
const SAMPLE_VALUES = {
  image: { repository: 'registry.example/fastify-app', tag: 'check' },
  database: { acceptTaskLoss: true },
  ingress: { acceptPlainHttp: true },
}

/**
 * Checks a chart with the values of each environment (`values-*.yaml`) and each case (`ci/*-values.yaml`): with Helm's
 * linter, then every rendered object against the schema of its kind.
 *
 * @param field - a field to misspell, to verify that the schemas refuse it
 * @param schemas - directories written by {@link storeKubernetesSchemas} and {@link storeCustomResourceSchemas}
 * @param report - receives a line for each values file that passes
 * @throws ActionableError on the first finding, or when the schemas accept a misspelt field
 */
export async function checkChart(
  programs: ChartPrograms,
  chart: string,
  field: string,
  schemas: readonly string[],
  report: (line: string) => void,
): Promise<void> {
  for (const { name, values } of chartCases(chart)) {
    await lintChart(programs, chart, values)
    const manifests = await renderChart(programs, chart, values)
    report(`${name}: ${await validate(programs, manifests, schemas, name)}`)
    await assertMisspellingIsRefused(programs, manifests, field, schemas)
  }
}

/** The values to check a chart with: those of each environment and each case. */
export function chartCases(chart: string): { name: string; values: ChartValues }[] {
  const environments = filesIn(chart, /^values-.+\.yaml$/).map((file) => ({
    file,
    overrides: SAMPLE_VALUES,
  }))
  const cases = filesIn(join(chart, 'ci'), /-values\.yaml$/).map((file) => ({ file, overrides: {} }))
  return [...environments, ...cases].map(({ file, overrides }) => ({
    name: relative(chart, file),
    values: { files: [file], overrides },
  }))
}

function filesIn(directory: string, name: RegExp): string[] {
  return readdirSync(directory)
    .filter((entry) => name.test(entry))
    .map((entry) => join(directory, entry))
}

/** Validates a YAML stream of Kubernetes objects and returns kubeconform's summary of it. */
async function validate(
  programs: ChartPrograms,
  manifests: string,
  schemas: readonly string[],
  values: string,
): Promise<string> {
  const locations = schemas.flatMap((directory) => [
    '-schema-location',
    join(directory, '{{.ResourceKind}}{{.KindSuffix}}.json'),
  ])
  return runTool(
    programs,
    'kubeconform',
    ['-strict', '-summary', ...locations, '-'],
    manifests,
    `the chart with ${values}`,
  )
}

/** Schemas that declare no fields would accept everything, so make sure that they refuse a misspelt field. */
async function assertMisspellingIsRefused(
  programs: ChartPrograms,
  manifests: string,
  field: string,
  schemas: readonly string[],
): Promise<void> {
  const misspelt = manifests.replace(`${field}:`, `${field}s:`)
  const refused = await validate(programs, misspelt, schemas, 'a misspelt field').then(
    () => false,
    () => true,
  )
  if (!refused) {
    throw new ActionableError(
      `the schemas in ${schemas.join(' and ')} accept a misspelt ${field}`,
      'delete these directories, and pass the OpenAPI document of the Kubernetes version in use',
    )
  }
}

async function checkCharts(programs: ChartPrograms, openApi: string, schemas: string): Promise<void> {
  const directories = [storeKubernetesSchemas(openApi, schemas)]
  directories.push(storeCustomResourceSchemas(await definitionFiles(), schemas))
  for (const [chart, field] of Object.entries(CHARTS)) {
    const report = (line: string) => console.log(`${chart}: ${line}`)
    await checkChart(programs, join(REPOSITORY_ROOT, 'helm', chart), field, directories, report)
  }
}

if (import.meta.main) {
  const box = readBoxConfig(process.env)
  new Command('check-chart')
    .description('Lints the charts and validates their manifests, with the values of every environment.')
    .option('--openapi <file>', 'api/openapi-spec/swagger.json of the Kubernetes version', openApiPath(box))
    .option(
      '--schemas <directory>',
      'cache for the schemas that are generated from it',
      join(box.cacheDir, 'schemas'),
    )
    .action(({ openapi, schemas }: { openapi: string; schemas: string }) =>
      checkCharts(readChartPrograms(process.env), openapi, schemas),
    )
    .parseAsync()
    .catch(reportFailure)
}
