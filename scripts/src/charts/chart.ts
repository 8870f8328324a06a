import { basename } from 'node:path'
import { type ExecaError, execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { programPath } from 'shared/tools'

/** Paths of the programs that render and check charts. */
export interface ChartPrograms {
  helm: string
  kubeconform: string
}

/**
 * Reads which programs to use: those that `HELM` and `KUBECONFORM` name, or the pinned ones.
 *
 * @throws ActionableError when a variable of the box has an invalid value
 */
export function readChartPrograms(env: NodeJS.ProcessEnv): ChartPrograms {
  const box = readBoxConfig(env)
  return {
    helm: env['HELM'] || programPath(box, 'helm'),
    kubeconform: env['KUBECONFORM'] || programPath(box, 'kubeconform'),
  }
}

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
export async function renderChart(
  programs: ChartPrograms,
  chart: string,
  values: ChartValues,
): Promise<string> {
  return runHelm(programs, ['template', 'fastify-app', chart, '--namespace', 'fastify-app'], values)
}

/**
 * Lints the chart, with warnings as errors.
 *
 * @throws ActionableError with Helm's findings
 */
export async function lintChart(programs: ChartPrograms, chart: string, values: ChartValues): Promise<void> {
  await runHelm(programs, ['lint', chart, '--strict'], values)
}

async function runHelm(
  programs: ChartPrograms,
  args: string[],
  { files, overrides }: ChartValues,
): Promise<string> {
  const values = [...files, '-'].flatMap((file) => ['--values', file])
  const subject = ['the chart', ...files.map((file) => basename(file))].join(' with ')
  return runTool(programs, 'helm', [...args, ...values], JSON.stringify(overrides), subject)
}

/**
 * Runs Helm or kubeconform.
 *
 * @param subject - what is checked, for the error message
 * @returns its stdout
 * @throws ActionableError with its whole output when it fails, or when it is not installed
 */
export async function runTool(
  programs: ChartPrograms,
  tool: keyof ChartPrograms,
  args: string[],
  input: string,
  subject: string,
): Promise<string> {
  const program = programs[tool]
  try {
    const { stdout } = await execa(program, args, { input, all: true })
    return stdout
  } catch (cause) {
    const { code, all } = cause as ExecaError<{ all: true }>
    const [message, nextStep] =
      code === 'ENOENT'
        ? [
            `${tool} is not built: ${program} does not exist`,
            `build it with \`make tools TOOL=${tool}\`, or set ${tool.toUpperCase()} to its path`,
          ]
        : [`${tool} refuses ${subject}: ${all}`, 'fix what it reports in the chart or its values']
    throw new ActionableError(message, nextStep, { cause })
  }
}
