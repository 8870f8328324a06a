import { basename } from 'node:path'
import { type ExecaError, execa } from 'execa'
import { ActionableError } from 'shared/errors'

/** Values of a chart: files in ascending order of precedence, then single values that precede them all. */
export interface ChartValues {
  files: string[]
  overrides: Record<string, unknown>
}

/**
 * Renders the chart with its tests, as release `fastify-app` in the namespace of that name.
 *
 * @returns the manifests, as one YAML stream
 * @throws ActionableError with Helm's own words when it refuses the chart or the values
 */
export async function renderChart(chart: string, values: ChartValues): Promise<string> {
  return runHelm(['template', 'fastify-app', chart, '--namespace', 'fastify-app'], values)
}

/**
 * Lints the chart; a warning counts as an error.
 *
 * @throws ActionableError with Helm's own words when it finds something
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
 * Runs the program that the environment variable `HELM` or `KUBECONFORM` names, else the one on PATH.
 *
 * @param subject - what is examined, for the error message
 * @returns what it wrote to stdout
 * @throws ActionableError with all that it wrote when it fails, and when it is not installed
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
        ? [`there is no ${program}`, `Install ${tool}, or set ${variable} to its path.`]
        : [`${tool} refuses ${subject}: ${all}`, 'Correct what it names in the chart or its values.']
    throw new ActionableError(message, nextStep, { cause })
  }
}
