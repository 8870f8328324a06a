#!/usr/bin/env node
import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { Command } from 'commander'
import { openApiPath } from 'eks-box/tools'
import { readBoxConfig } from 'shared/box'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { type ChartValues, lintChart, renderChart, runTool } from './chart.ts'
import { definitionFiles } from './custom-resource-definitions.ts'
import { storeCustomResourceSchemas, storeKubernetesSchemas } from './kubernetes-schemas.ts'

/** Each chart with a field, deep in its manifests, that the schemas must refuse when it is misspelt. */
export const CHARTS = { 'fastify-app': 'readinessProbe', 'karpenter-nodes': 'nodeClassRef' } as const

/** What an environment's values leave to the deployment, or, as production does its database, to the account. */
const SAMPLE_VALUES = {
  image: { repository: 'registry.example/fastify-app', tag: 'check' },
  database: { acceptTaskLoss: true },
}

/**
 * Checks a chart with the values of each environment (`values-*.yaml`) and each case (`ci/*-values.yaml`):
 * Helm's linter, then every rendered object against the schema of its kind.
 *
 * @param field - one that is misspelt to see that the schemas refuse it
 * @param schemas - directories written by {@link storeKubernetesSchemas} and {@link storeCustomResourceSchemas}
 * @param report - is told of each values file that passed
 * @throws ActionableError on the first finding, and when the schemas would find nothing
 */
export async function checkChart(
  chart: string,
  field: string,
  schemas: readonly string[],
  report: (line: string) => void,
): Promise<void> {
  for (const { name, values } of chartCases(chart)) {
    await lintChart(chart, values)
    const manifests = await renderChart(chart, values)
    report(`${name}: ${await validate(manifests, schemas, name)}`)
    await assertMisspellingIsRefused(manifests, field, schemas)
  }
}

/** What a chart is to be tried with: the values of each environment and each case. */
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
async function validate(manifests: string, schemas: readonly string[], values: string): Promise<string> {
  const locations = schemas.flatMap((directory) => [
    '-schema-location',
    join(directory, '{{.ResourceKind}}{{.KindSuffix}}.json'),
  ])
  return runTool(
    'kubeconform',
    ['-strict', '-summary', ...locations, '-'],
    manifests,
    `the chart with ${values}`,
  )
}

/** Schemas that know no fields would let everything pass, so a wrong field deep in an object has to be refused. */
async function assertMisspellingIsRefused(
  manifests: string,
  field: string,
  schemas: readonly string[],
): Promise<void> {
  const misspelt = manifests.replace(`${field}:`, `${field}s:`)
  const refused = await validate(misspelt, schemas, 'a misspelling').then(
    () => false,
    () => true,
  )
  if (!refused) {
    throw new ActionableError(
      `the schemas in ${schemas.join(' and ')} let a misspelt ${field} pass`,
      'Delete these directories, and pass the OpenAPI document of the Kubernetes version in use.',
    )
  }
}

async function checkCharts(openApi: string, schemas: string): Promise<void> {
  const directories = [storeKubernetesSchemas(openApi, schemas)]
  directories.push(storeCustomResourceSchemas(await definitionFiles(), schemas))
  for (const [chart, field] of Object.entries(CHARTS)) {
    const report = (line: string) => console.log(`${chart}: ${line}`)
    await checkChart(join(REPOSITORY_ROOT, 'helm', chart), field, directories, report)
  }
}

if (import.meta.main) {
  const box = readBoxConfig(process.env)
  new Command('check-chart')
    .description('Checks the charts with the values of every environment.')
    .option('--openapi <file>', "Kubernetes' api/openapi-spec/swagger.json", openApiPath(box))
    .option(
      '--schemas <directory>',
      'where the schemas made from it are kept for the next run',
      join(box.cacheDir, 'schemas'),
    )
    .action(({ openapi, schemas }: { openapi: string; schemas: string }) => checkCharts(openapi, schemas))
    .parseAsync()
    .catch(reportFailure)
}
