import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import t from 'tap'
import { identify, isRunning, writeStatus } from './lifecycle/status.ts'

const notRoot = process.getuid?.() === 0 ? false : 'needs root'

t.test(
  'a running box keeps running when the tools of the new one cannot be built',
  { skip: notRoot },
  async (t) => {
    // A short path, because the paths of Unix sockets are limited.
    const directory = await mkdtemp(join(tmpdir(), 'eks-box-'))
    t.teardown(() => rm(directory, { recursive: true, force: true }))
    const bin = join(directory, 'bin')
    mkdirSync(bin)
    // Nothing is built and nothing is installed.
    for (const program of ['go', 'python3', 'buildah', 'apt-get']) {
      writeFileSync(join(bin, program), '#!/bin/sh\necho "no building here" >&2\nexit 1\n', { mode: 0o755 })
    }
    const variables = {
      BOX_NAME: 'unit-test',
      BOX_STATE_DIR: directory,
      BOX_CACHE_DIR: join(directory, 'cache'),
    }
    const config = readBoxConfig(variables)
    // Stands in for the process that owns the running box.
    const owner = spawn('sleep', ['600'])
    t.teardown(() => owner.kill())
    const host = identify(owner.pid ?? 0)
    if (host === undefined) throw new Error('sleep did not start')
    const { ports } = config
    await writeStatus(config, {
      phase: 'ready',
      host,
      fingerprint: 'of an older checkout',
      ports,
      components: [],
    })
    const statusFile = join(config.stateDir, 'status.json')
    const before = readFileSync(statusFile, 'utf8')

    const { exitCode, stdout, stderr } = await execa(
      process.execPath,
      [join(import.meta.dirname, 'cli.ts'), 'up'],
      {
        reject: false,
        env: {
          ...variables,
          ENV: 'local',
          KUBE_CONTEXT: '',
          PATH: [bin, process.env['PATH']].join(delimiter),
        },
      },
    )
    t.equal(exitCode, 1)
    t.match(stderr, /^error: .*(no building here|apt-get)/m)
    t.notMatch(stdout, /Stop box/)
    t.ok(isRunning(host), 'the box still runs')
    t.equal(readFileSync(statusFile, 'utf8'), before)
  },
)
