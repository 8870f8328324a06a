/**
 * Sends requests to a URL until its input ends, and prints how many requests had each result: for each line of the
 * input those since the line before, and the rest at its end. Runs inside the box, where the load balancers are.
 *
 * Usage: steady-client.ts <url> [requests per second, 400 by default] [clients, 4 by default]
 *
 * Every second client keeps its connection, as browsers and proxies do. The others open one for each request.
 */
import { Agent, get } from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const [url = '', rate = '400', clients = '4'] = process.argv.slice(2)
/** Pause between two requests of a client, in milliseconds. */
const interval = (1000 * Number(clients)) / Number(rate)
let results: Record<string, number> = {}

function send(agent: Agent | false): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  const request = get(url, { agent, timeout: 30_000 }, (response) => {
    const { statusCode, headers } = response
    const result =
      statusCode === 503 && headers['retry-after'] !== undefined ? '503 with Retry-After' : `${statusCode}`
    response.on('end', () => resolve(result)).resume()
    response.on('error', (error) => resolve(error.message))
  })
  request.on('timeout', () => request.destroy(new Error('no response within 30 s')))
  request.on('error', (error) => resolve(error.message))
  return promise
}

let isOver = false
async function repeat(agent: Agent | false): Promise<void> {
  let next = Date.now()
  while (!isOver) {
    const result = await send(agent)
    // The log of the test shows when failures of a kind began.
    if (result !== '200' && results[result] === undefined) console.error(new Date().toISOString(), result)
    results[result] = (results[result] ?? 0) + 1
    // A client that was late does not catch up.
    const now = Date.now()
    next = Math.max(next + interval, now)
    await sleep(next - now)
  }
}

function report(): void {
  console.log(JSON.stringify(results))
  results = {}
}

createInterface({ input: process.stdin })
  .on('line', report)
  .on('close', () => {
    isOver = true
  })
const kept = new Agent({ keepAlive: true })
await Promise.all(
  Array.from({ length: Number(clients) }, (_, index) => repeat(index % 2 === 0 ? kept : false)),
)
kept.destroy()
report()
