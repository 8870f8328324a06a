/**
 * The service's process. It handles signals before it loads anything else, because process 1 of a container has no
 * default action for SIGTERM and would ignore a signal during the start.
 */
const stop = new AbortController()
const exit = new AbortController()
for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.on(name, () => (stop.signal.aborted ? exit : stop).abort(name))
}

const { run } = await import('./run.ts')
await run({ stop: stop.signal, exit: exit.signal })
