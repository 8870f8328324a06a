/**
 * `make test ONLY=fuzz`: sends generated requests, valid and invalid, to the running service with a real PostgreSQL, and
 * checks the responses against the service's OpenAPI document. Fails on a 5xx, on an undocumented status, header, media
 * type or body, if valid input is refused or invalid input accepted, and if the service exits.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrate } from './src/postgres/migrations.ts'
import { startPostgres } from './src/testing/postgres-server.ts'
import { start } from './src/testing/server.ts'

/** Minimum number of requests to send. */
const REQUESTS = 10_000

/** Maximum number of requests to an operation in one round. Operations with few inputs get fewer. */
const EXAMPLES = 300

/** The schemathesis program; `make test` sets the pinned one. */
const SCHEMATHESIS = process.env['SCHEMATHESIS'] ?? 'schemathesis'

/** Schemathesis writes its cache here. */
const scratch = mkdtempSync(join(tmpdir(), 'fuzz-'))

const endings: (() => unknown)[] = []
const teardown = (ending: () => unknown) => {
  endings.unshift(ending)
}

async function fuzz(): Promise<void> {
  const server = await startPostgres({ teardown })
  const database = await server.createDatabase()
  await migrate(database, 10_000)
  const service = await start(
    { teardown },
    // Long waits and CPU work find no faults.
    { DATABASE_URL: database, LOAD_MAX_MS: '20', LOG_REQUESTS_PER_SECOND: '0' },
  )

  for (let round = 1, sent = 0; sent < REQUESTS; round += 2) {
    // Generating requests takes a core for each round, and the smallest supported machine has two.
    await Promise.all([runRound(service.port, round), runRound(service.port, round + 1)])
    sent = await requestsServed(service.metricsPort)
    console.log(`rounds ${round} and ${round + 1}: ${sent} of ${REQUESTS} requests sent`)
  }
  if (service.process.exitCode !== null) throw new Error('the service has exited')
}

/** One run over all operations. The round is the seed, which finds a failure again. */
async function runRound(port: number, round: number): Promise<void> {
  const schemathesis = spawn(
    SCHEMATHESIS,
    [
      ...[
        '--config-file',
        join(import.meta.dirname, 'schemathesis.toml'),
        'run',
        `http://127.0.0.1:${port}/openapi.json`,
      ],
      ...['--seed', String(round), '--max-examples', String(EXAMPLES), '--no-color'],
    ],
    { cwd: scratch, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let report = ''
  schemathesis.stdout.on('data', (chunk) => {
    report += chunk
  })
  const [code] = await once(schemathesis, 'close')
  if (code !== 0)
    throw new Error(
      `round ${round}: schemathesis found a failure or did not run (exit code ${code}):\n${report}`,
    )
}

async function requestsServed(metricsPort: number): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
  return [...metrics.matchAll(/^http_request_duration_seconds_count\{.*\} (\d+)$/gm)]
    .map(([, count]) => Number(count))
    .reduce((sum, count) => sum + count, 0)
}

try {
  await fuzz()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  for (const end of endings) await end()
  rmSync(scratch, { recursive: true })
}
