import { join } from 'node:path'
import { execa } from 'execa'
import { repository } from './operator.ts'

/** The program that sends the requests; its comment describes the arguments. */
export const STEADY_CLIENT = join(import.meta.dirname, 'steady-client.ts')

/** How many requests had each result: a status, or the message of an error. */
export type Results = Record<string, number>

export const sum = (results: Results) => Object.values(results).reduce((total, count) => total + count, 0)
export const failures = ({ 200: _served, ...failed }: Results): Results => failed

/**
 * Sends requests in the background.
 *
 * @param command - arguments of Node.js that run the client
 */
export function startLoad(command: readonly string[], environment: Readonly<Record<string, string>>) {
  const client = execa('node', command, {
    cwd: repository,
    env: environment,
    stdin: 'pipe',
    stderr: 'inherit',
    reject: false,
  })
  const lines = client.iterable()[Symbol.asyncIterator]()
  const read = async (): Promise<Results> => {
    const { value, done } = await lines.next()
    if (done) throw new Error('the clients have ended')
    return JSON.parse(value)
  }
  return {
    /** Returns the results since the last call. */
    take: () => {
      client.stdin.write('\n')
      return read()
    },
    /** Waits for the open requests, and returns the results since the last call. */
    stop: async () => {
      client.stdin.end()
      const last = await read()
      await client
      return last
    },
  }
}
