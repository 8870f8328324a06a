import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { execa } from 'execa'
import { Listr } from 'listr2'
import { readBoxConfig } from 'shared/box'
import { builtProgram, PAUSE_IMAGE, pauseArchivePath, programPath, type Tool } from 'shared/tools'
import t, { type Test } from 'tap'
import { prepareTasks } from './prepare.ts'

/** Replaces Go: it compiles nothing, and records its arguments in the file `calls`. */
const go = `
echo "$* $GOWORK" >> "$CALLS"
[ "$1" = install ] || exit 0
echo some/package
touch "$GOBIN/server" "$GOBIN/k6"
`

/** A cache, and programs that replace Go and Python. */
function workshop(t: Test, programs: Readonly<Record<'go' | 'python3', string>>) {
  const directory = t.testdir({ bin: {} })
  for (const [name, script] of Object.entries(programs)) {
    writeFileSync(join(directory, 'bin', name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(directory, 'bin', name), 0o755)
  }
  const calls = join(directory, 'calls')
  t.intercept(process, 'env', {
    value: { PATH: [join(directory, 'bin'), process.env['PATH']].join(delimiter), CALLS: calls },
  })
  const config = readBoxConfig({ BOX_CACHE_DIR: join(directory, 'cache') })
  const build = (tools: Tool[], interrupt = new AbortController().signal) =>
    new Listr(prepareTasks(config, tools, [], interrupt, 0), { renderer: 'silent' }).run()
  return { config, build, calls: () => readFileSync(calls, 'utf8').trim().split('\n') }
}

t.test('tools are built one after another, and only once', async (t) => {
  const { config, build, calls } = workshop(t, { go, python3: 'exit 1' })
  await build(['etcd', 'k6'])
  t.ok(existsSync(builtProgram(config, 'etcd')), 'under its name, which is not the name of its package')
  t.ok(existsSync(builtProgram(config, 'k6')))
  t.equal(calls().filter((call) => call.startsWith('install') && call.endsWith(' tool off')).length, 2)
  await build(['etcd', 'k6'])
  t.equal(calls().filter((call) => call.startsWith('install')).length, 2)
})

t.test('the pause image is an archive that containerd can import', async (t) => {
  const { config, build } = workshop(t, {
    go: '[ "$1" != install ] || touch "$GOBIN/pause"',
    python3: 'exit 1',
  })
  await build(['pause'])
  const read = async (file: string) =>
    (await execa('tar', ['--extract', '--to-stdout', '--file', pauseArchivePath(config), file])).stdout
  t.match(JSON.parse(await read('./index.json')).manifests, [
    { annotations: { 'io.containerd.image.name': PAUSE_IMAGE } },
  ])
})

t.test('a failure of Go also stops pip, and the error has Go’s output', async (t) => {
  const { config, build } = workshop(t, {
    go: 'sleep 0.2; echo "some/package: cannot compile"; exit 1',
    python3: 'exec sleep 60',
  })
  await t.rejects(build(['etcd', 'zizmor']), {
    name: 'ActionableError',
    message: 'building etcd failed: some/package: cannot compile',
    nextStep: /go install tool/,
  })
  t.notOk(existsSync(programPath(config, 'zizmor')))
})

t.test('an interrupted build can be continued', async (t) => {
  const { config, build } = workshop(t, { go: 'exec sleep 60', python3: 'exit 1' })
  const interrupt = new AbortController()
  setTimeout(() => interrupt.abort(), 100)
  await t.rejects(build(['etcd'], interrupt.signal), {
    message: 'stopped while building etcd',
    nextStep: /run the command again/,
  })
  writeFileSync(join(config.cacheDir, '..', 'bin', 'go'), `#!/bin/sh\n${go}`)
  await build(['etcd'])
  t.ok(existsSync(builtProgram(config, 'etcd')))
})

t.test('a missing program is reported with the command that builds it', async (t) => {
  const config = readBoxConfig({ BOX_CACHE_DIR: t.testdir() })
  t.throws(() => builtProgram(config, 'kubectl'), {
    name: 'ActionableError',
    message: /^kubectl is not built/,
    nextStep: 'build it with `make tools TOOL=kubernetes`',
  })
})

t.test('a tool that another process has built meanwhile is kept', async (t) => {
  const { config, build } = workshop(t, {
    go: `${go}\nmkdir -p "\${GOBIN%.unfinished*}"; echo first > "\${GOBIN%.unfinished*}/k6"`,
    python3: 'exit 1',
  })
  mkdirSync(config.cacheDir, { recursive: true })
  await build(['k6'])
  t.equal(readFileSync(builtProgram(config, 'k6'), 'utf8'), 'first\n')
})
