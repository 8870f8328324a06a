/**
 * Asks the API server of a cluster whether it would take the charts, with the values of every environment and case:
 * its own defaults, validations and admission, which no schema knows. Nothing is kept; the definitions of custom
 * kinds are there for as long as this runs.
 */
import { join } from 'node:path'
import { Command } from 'commander'
import { type ExecaError, execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { renderChart } from './chart.ts'
import { CHARTS, chartCases } from './check-chart.ts'
import { definitionFiles } from './custom-resource-definitions.ts'

async function dryRun(kubeconfig: string): Promise<void> {
  const kubectl = (args: string[], input = '') =>
    execa(process.env['KUBECTL'] ?? 'kubectl', ['--kubeconfig', kubeconfig, ...args], { input, all: true })
  const definitions = (await definitionFiles()).flatMap((file) => ['--filename', file])
  await kubectl(['apply', '--server-side', ...definitions])
  try {
    await kubectl(['wait', '--for=condition=Established', ...definitions])
    for (const chart of Object.keys(CHARTS)) {
      const directory = join(REPOSITORY_ROOT, 'helm', chart)
      for (const { name, values } of chartCases(directory)) {
        const manifests = await renderChart(directory, values)
        const options = ['--server-side', '--force-conflicts', '--dry-run=server', '--filename', '-']
        const { stdout } = await kubectl(['apply', ...options], manifests).catch((refusal: ExecaError) => {
          throw new ActionableError(
            `the API server refuses ${chart} with ${name}: ${refusal.all}`,
            'correct what it names in the chart or its values',
            { cause: refusal },
          )
        })
        console.log(`${chart} with ${name}: ${stdout.split('\n').length} objects would be taken`)
      }
    }
  } finally {
    await kubectl(['delete', '--ignore-not-found', ...definitions])
  }
}

await new Command('dry-run-charts')
  .description('Asks a cluster whether it would take the charts.')
  .requiredOption('--kubeconfig <file>', 'of the cluster to ask, which must have the namespace fastify-app')
  .action(({ kubeconfig }: { kubeconfig: string }) => dryRun(kubeconfig))
  .parseAsync()
  .catch(reportFailure)
