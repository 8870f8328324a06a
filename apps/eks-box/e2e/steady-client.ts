/**
 * Sends requests to the URL in the first argument until its input ends, over four connections that it keeps, and prints
 * how many requests had each result. Runs inside the box, where the load balancers are.
 */
import { Agent, get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

const url = process.argv[2] ?? ''
const agent = new Agent({ keepAlive: true, maxSockets: 4 })
const results: Record<string, number> = {}

function send(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  get(url, { agent }, (response) => {
    response.on('end', () => resolve(String(response.statusCode))).resume()
    response.on('error', (error) => resolve(error.message))
  }).on('error', (error) => resolve(error.message))
  return promise
}

let isOver = false
process.stdin.on('end', () => {
  isOver = true
})
process.stdin.resume()
await Promise.all(
  Array.from({ length: 4 }, async () => {
    while (!isOver) {
      const result = await send()
      results[result] = (results[result] ?? 0) + 1
      await sleep(10)
    }
  }),
)
agent.destroy()
console.log(JSON.stringify(results))
