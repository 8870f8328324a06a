import type { ListrTask } from 'listr2'
import type { BoxConfig } from 'shared/box'
import { missingTools, TOOLS, type Tool } from 'shared/tools'
import { installPackages, missingPackages, type Package } from '../packages.ts'
import { buildTool } from './build.ts'
import { Forecast, formatLeft } from './forecast.ts'
import { downloadModules } from './go.ts'

/** Formats the time since `since` for the title of a finished task. */
export function elapsed(since: number): string {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`
}

/**
 * The tasks that install missing Debian packages and build missing tools. Go runs beside apt-get and pip, because it
 * needs the processors while they mostly wait for the network.
 *
 * @param interrupt stops the tasks when aborted.
 * @param progressInterval milliseconds between two progress lines of a build.
 */
export function prepareTasks(
  config: BoxConfig,
  tools: readonly Tool[],
  packages: readonly Package[],
  interrupt: AbortSignal,
  progressInterval: number,
): ListrTask[] {
  const missing = missingTools(config, tools)
  const install = installTasks(packages)
  if (missing.length === 0) return install

  // When one lane fails, the other must not continue for minutes.
  const failure = new AbortController()
  const stop = AbortSignal.any([interrupt, failure.signal])
  const forecast = new Forecast(missing)
  const compiled = missing.filter((tool) => TOOLS[tool].installer === 'go')
  let downloading = false

  const buildTask = (tool: Tool): ListrTask => ({
    title: `Build ${tool}`,
    task: async (_, task) => {
      const since = Date.now()
      let reported = since
      forecast.update(tool, 0)
      await buildTool(config, tool, stop, (share, text) => {
        forecast.update(tool, share)
        // The first tool's modules are downloaded by now, so the network is free for the others.
        if (share > 0 && !downloading) {
          downloading = true
          void downloadModules(config, compiled.slice(1), stop)
        }
        if (Date.now() - reported < progressInterval) return
        reported = Date.now()
        task.output = `${formatLeft(forecast.secondsLeft())}; ${text}`
      })
      forecast.update(tool, 1)
      task.title = `Built ${tool} (${elapsed(since)})`
    },
  })
  const lane = (title: string, steps: readonly ListrTask[]): ListrTask[] =>
    steps.length === 0
      ? []
      : [
          {
            title,
            task: (_, task) =>
              task.newListr(
                steps.map((step) => abortingOnFailure(step, failure)),
                { concurrent: false },
              ),
          },
        ]
  return [
    {
      title: `Build ${missing.length} tools: ${formatLeft(forecast.secondsLeft())} if nothing is cached`,
      task: (_, task) =>
        task.newListr(
          [
            ...lane('Compile with Go', compiled.map(buildTask)),
            ...lane('Install packages', [
              ...install,
              ...missing.filter((tool) => !compiled.includes(tool)).map(buildTask),
            ]),
          ],
          { concurrent: true },
        ),
    },
  ]
}

/** One task for all packages, because one call of apt-get installs them. */
function installTasks(packages: readonly Package[]): ListrTask[] {
  const missing = missingPackages(packages)
  if (missing.length === 0) return []
  return [
    {
      title: `Install Debian packages: ${missing.join(', ')}`,
      task: async (_, task) => {
        const since = Date.now()
        await installPackages(packages)
        task.title = `Installed ${missing.length} Debian packages (${elapsed(since)})`
      },
    },
  ]
}

function abortingOnFailure(step: ListrTask, failure: AbortController): ListrTask {
  return {
    ...step,
    task: async (context, task) => {
      try {
        await step.task(context, task)
      } catch (error) {
        failure.abort()
        throw error
      }
    },
  }
}
