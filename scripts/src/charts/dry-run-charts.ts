/**
 * Applies the charts to a cluster as a server-side dry run, with the values of every environment and case. Unlike a
 * schema, the API server also applies defaults, validation rules and admission. Definitions of custom kinds that the
 * cluster lacks are installed only while this runs.
 */
import { join } from 'node:path'
import { Command } from 'commander'
import { type ExecaError, execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { programPath } from 'shared/tools'
import { type ChartPrograms, readChartPrograms, renderChart } from './chart.ts'
import { CHARTS, chartCases } from './check-chart.ts'
import { definitionFiles } from './custom-resource-definitions.ts'

/** Paths of the programs: those that `HELM` and `KUBECTL` name, or the pinned ones. */
interface Programs extends ChartPrograms {
  kubectl: string
}

function readPrograms(env: NodeJS.ProcessEnv): Programs {
  return {
    ...readChartPrograms(env),
    kubectl: env['KUBECTL'] || programPath(readBoxConfig(env), 'kubectl'),
  }
}

/** The class in ci/https-values.yaml. The load balancer controller refuses an Ingress of a class that does not exist. */
const INGRESS_CLASS = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'IngressClass',
  metadata: { name: 'alb-internal' },
  spec: { controller: 'ingress.k8s.aws/alb' },
}

async function dryRun(programs: Programs, kubeconfig: string): Promise<void> {
  const kubectl = (args: string[], input = '') =>
    execa(programs.kubectl, ['--kubeconfig', kubeconfig, ...args], { input, all: true })
  // Those of installed controllers are present, and deleting them would delete their objects.
  const missing: string[] = []
  for (const file of await definitionFiles()) {
    const { stdout } = await kubectl(['get', '--ignore-not-found', '--output=name', '--filename', file])
    if (stdout === '') missing.push('--filename', file)
  }
  if (missing.length > 0) await kubectl(['apply', '--server-side', ...missing])
  const ingressClass = JSON.stringify(INGRESS_CLASS)
  try {
    await kubectl(['apply', '--server-side', '--filename', '-'], ingressClass)
    if (missing.length > 0) await kubectl(['wait', '--for=condition=Established', ...missing])
    for (const chart of Object.keys(CHARTS)) {
      const directory = join(REPOSITORY_ROOT, 'helm', chart)
      for (const { name, values } of chartCases(directory)) {
        const manifests = await renderChart(programs, directory, values)
        const options = ['--server-side', '--force-conflicts', '--dry-run=server', '--filename', '-']
        const { stdout } = await kubectl(['apply', ...options], manifests).catch((refusal: ExecaError) => {
          throw new ActionableError(
            `the API server refuses ${chart} with ${name}: ${refusal.all}`,
            'fix what it reports in the chart or its values',
            { cause: refusal },
          )
        })
        console.log(`${chart} with ${name}: ${stdout.split('\n').length} objects accepted`)
      }
    }
  } finally {
    await kubectl(['delete', '--ignore-not-found', '--filename', '-'], ingressClass)
    if (missing.length > 0) await kubectl(['delete', '--ignore-not-found', ...missing])
  }
}

await new Command('dry-run-charts')
  .description('Applies the charts to a cluster as a server-side dry run.')
  .requiredOption(
    '--kubeconfig <file>',
    'kubeconfig of the cluster, which must have the namespace fastify-app',
  )
  .action(({ kubeconfig }: { kubeconfig: string }) => dryRun(readPrograms(process.env), kubeconfig))
  .parseAsync()
  .catch(reportFailure)
