/**
 * `make test ONLY=fuzz`: holds the running service, with a real PostgreSQL behind it, against its own OpenAPI document with
 * generated requests, valid and not. Fails on a 5xx, an undocumented status, header, media type or body, on valid
 * input refused, invalid input accepted, and when the service ends.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrate } from './src/postgres/migrations.ts'
import { startPostgres } from './src/testing/postgres-server.ts'
import { start } from './src/testing/server.ts'

/** Requests to send at least. */
const REQUESTS = 20_000

/** Requests to an operation in one round, at most: small inputs have fewer. */
const EXAMPLES = 400

/** The program of schemathesis; `make test` names the pinned one. */
const SCHEMATHESIS = process.env['SCHEMATHESIS'] ?? 'schemathesis'

/** Where schemathesis keeps notes of its own. */
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
    // Waiting and burning CPU time find no faults.
    { DATABASE_URL: database, LOAD_MAX_MS: '20', LOG_REQUESTS_PER_SECOND: '0' },
  )

  for (let round = 1, sent = 0; sent < REQUESTS; round++) {
    await runRound(service.port, round)
    const before = sent
    sent = await requestsServed(service.metricsPort)
    console.log(`round ${round}: ${sent - before} requests, ${sent} of ${REQUESTS}`)
  }
  if (service.process.exitCode !== null) throw new Error('the service has ended')
}

/** One run over all operations. The round is the seed: a failure is found again by the same one. */
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
    throw new Error(`schemathesis found something, or did not run (exit code ${code}):\n${report}`)
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
