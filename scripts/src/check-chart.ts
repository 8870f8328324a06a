#!/usr/bin/env node
import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { Command } from 'commander'
import { ActionableError, reportFailure } from 'eks-box/errors'
import { lintChart, renderChart, runTool } from './chart.ts'
import { storeKubernetesSchemas } from './kubernetes-schemas.ts'

const CHART = join(import.meta.dirname, '..', '..', 'helm', 'fastify-app')

/** An environment's values leave the image to the deployment; for a check any image will do. */
const SAMPLE_IMAGE = { repository: 'registry.example/fastify-app', tag: 'check' }

/**
 * Checks the chart with the values of each environment (`values-*.yaml`) and each case (`ci/*-values.yaml`):
 * Helm's linter, then every rendered object against the schema of its kind.
 *
 * @param schemas - directory written by {@link storeKubernetesSchemas}
 * @param report - is told of each values file that passed
 * @throws ActionableError on the first finding, and when the schemas would find nothing
 */
export async function checkChart(
  chart: string,
  schemas: string,
  report: (line: string) => void,
): Promise<void> {
  const environments = filesIn(chart, /^values-.+\.yaml$/).map((file) => ({
    file,
    overrides: { image: SAMPLE_IMAGE },
  }))
  const cases = filesIn(join(chart, 'ci'), /-values\.yaml$/).map((file) => ({ file, overrides: {} }))
  for (const { file, overrides } of [...environments, ...cases]) {
    const values = { files: [file], overrides }
    await lintChart(chart, values)
    const manifests = await renderChart(chart, values)
    const name = relative(chart, file)
    report(`${name}: ${await validate(manifests, schemas, name)}`)
    await assertMisspellingIsRefused(manifests, schemas)
  }
}

function filesIn(directory: string, name: RegExp): string[] {
  return readdirSync(directory)
    .filter((entry) => name.test(entry))
    .map((entry) => join(directory, entry))
}

/** Validates a YAML stream of Kubernetes objects and returns kubeconform's summary of it. */
async function validate(manifests: string, schemas: string, values: string): Promise<string> {
  const location = join(schemas, '{{.ResourceKind}}{{.KindSuffix}}.json')
  const args = ['-strict', '-summary', '-schema-location', location, '-']
  return runTool('kubeconform', args, manifests, `the chart with ${values}`)
}

/** Schemas that know no fields would let everything pass, so a wrong field deep in a pod has to be refused. */
async function assertMisspellingIsRefused(manifests: string, schemas: string): Promise<void> {
  const misspelt = manifests.replace('readinessProbe:', 'readynessProbe:')
  const refused = await validate(misspelt, schemas, 'a misspelling').then(
    () => false,
    () => true,
  )
  if (!refused) {
    throw new ActionableError(
      `the schemas in ${schemas} let a misspelt field of a container pass`,
      'Delete that directory, and pass the OpenAPI document of the Kubernetes version in use.',
    )
  }
}

if (import.meta.main) {
  new Command('check-chart')
    .description('Checks the chart of the service with the values of every environment.')
    .requiredOption('--openapi <file>', "Kubernetes' api/openapi-spec/swagger.json")
    .requiredOption('--schemas <directory>', 'where the schemas made from it are kept for the next run')
    .action(({ openapi, schemas }: { openapi: string; schemas: string }) =>
      checkChart(CHART, storeKubernetesSchemas(openapi, schemas), console.log),
    )
    .parseAsync()
    .catch(reportFailure)
}
