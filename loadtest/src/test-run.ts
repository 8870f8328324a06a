/** Runs `make loadtest` in tests. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import Value from 'typebox/value'
import { type RunReport, RunReportSchema } from './run-report.ts'
import type { FakeJobs } from './test-jobs.ts'
import { kubeconfig, startCluster, startService } from './test-servers.ts'

interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs the command as a user would. `onOutput` may send it a signal. */
export async function loadtest(
  args: string[],
  environment: Record<string, string>,
  onOutput: (stdout: string, kill: (signal: NodeJS.Signals) => void) => void = () => {},
): Promise<Outcome> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'run.ts'), ...args], {
    env: { ...process.env, KUBE_CONTEXT: '', ENV: '', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const outcome: Outcome = { code: null, stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => {
    outcome.stdout += chunk
    onOutput(outcome.stdout, (signal) => child.kill(signal))
  })
  child.stderr.on('data', (chunk: Buffer) => {
    outcome.stderr += chunk
  })
  await once(child, 'close')
  outcome.code = child.exitCode
  return outcome
}

/** Reads a report, which must follow the schema. */
export function readReport(file: string): RunReport {
  return Value.Parse(RunReportSchema, JSON.parse(readFileSync(file, 'utf8')))
}

/** A service, its cluster, and the environment variables for both. */
export async function startBoth(t: Test, jobs?: FakeJobs) {
  const service = await startService()
  const cluster = await startCluster(jobs)
  t.teardown(service.close)
  t.teardown(cluster.close)
  const directory = t.testdir({ kubeconfig: kubeconfig(cluster.url) })
  const environment = {
    BASE_URL: service.url,
    KUBECONFIG: join(directory, 'kubeconfig'),
    KUBE_CONTEXT: 'fake',
    PEAK_RATE: '40',
    RAMP: '2s',
    HOLD: '3s',
  }
  return { service, cluster, environment, file: join(directory, 'reports', 'run.json') }
}
