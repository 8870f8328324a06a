/**
 * The service's process. It listens for signals before anything else is loaded: as process 1 of a container, which
 * has no default action for SIGTERM, it would not notice one that comes while it starts.
 */
const stop = new AbortController()
const exit = new AbortController()
for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.on(name, () => (stop.signal.aborted ? exit : stop).abort(name))
}

const { run } = await import('./run.ts')
await run({ stop: stop.signal, exit: exit.signal })
