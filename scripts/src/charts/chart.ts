import { basename } from 'node:path'
import { type ExecaError, execa } from 'execa'
import { ActionableError } from 'shared/errors'

/** Values for a chart: files in ascending order of precedence, and `overrides`, which take precedence over all. */
export interface ChartValues {
  files: string[]
  overrides: Record<string, unknown>
}

/**
 * Renders the chart, including its tests, as release `fastify-app` in the namespace of the same name.
 *
 * @returns the manifests as one YAML stream
 * @throws ActionableError with Helm's output when it refuses the chart or the values
 */
export async function renderChart(chart: string, values: ChartValues): Promise<string> {
  return runHelm(['template', 'fastify-app', chart, '--namespace', 'fastify-app'], values)
}

/**
 * Lints the chart, with warnings as errors.
 *
 * @throws ActionableError with Helm's findings
 */
export async function lintChart(chart: string, values: ChartValues): Promise<void> {
  await runHelm(['lint', chart, '--strict'], values)
}

async function runHelm(args: string[], { files, overrides }: ChartValues): Promise<string> {
  const values = [...files, '-'].flatMap((file) => ['--values', file])
  const subject = ['the chart', ...files.map((file) => basename(file))].join(' with ')
  return runTool('helm', [...args, ...values], JSON.stringify(overrides), subject)
}

/**
 * Runs Helm or kubeconform: the program that `HELM` or `KUBECONFORM` names, else the one on PATH.
 *
 * @param subject - what is checked, for the error message
 * @returns its stdout
 * @throws ActionableError with its whole output when it fails, or when it is not installed
 */
export async function runTool(
  tool: 'helm' | 'kubeconform',
  args: string[],
  input: string,
  subject: string,
): Promise<string> {
  const variable = tool.toUpperCase()
  const program = process.env[variable] ?? tool
  try {
    const { stdout } = await execa(program, args, { input, all: true })
    return stdout
  } catch (cause) {
    const { code, all } = cause as ExecaError<{ all: true }>
    const [message, nextStep] =
      code === 'ENOENT'
        ? [`${program} is not installed`, `install ${tool}, or set ${variable} to its path`]
        : [`${tool} refuses ${subject}: ${all}`, 'fix what it reports in the chart or its values']
    throw new ActionableError(message, nextStep, { cause })
  }
}
