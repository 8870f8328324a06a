import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { installPackages, isInstalled, missingPackages, PACKAGES } from './packages.ts'

function writeProgram(directory: string, name: string, script: string): void {
  writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`)
  chmodSync(join(directory, name), 0o755)
}

/**
 * A directory for PATH with an apt-get that records its calls and then runs `script`, because the real one would change
 * this machine. Nothing else is on PATH, so `script` uses absolute paths.
 */
function fakeApt(directory: string, script: string) {
  const log = join(directory, 'apt.log')
  writeFileSync(log, '')
  writeProgram(directory, 'apt-get', `echo "$DEBIAN_FRONTEND: $*" >> ${log}\ncd ${directory}\n${script}`)
  return {
    env: { PATH: directory },
    calls: () => readFileSync(log, 'utf8').trim().split('\n').filter(Boolean),
  }
}

const wanted = [
  { name: 'quux-tools', provides: 'quux', why: 'one program' },
  { name: 'quuz', provides: 'quuz', why: 'another' },
]
const installBoth = `if [ "$1" = install ]; then
  for program in quux quuz; do printf '#!/bin/sh\\n' > $program; /bin/chmod +x $program; done
fi`

t.beforeEach((t) => {
  t.intercept(process, 'getuid', { value: () => 0 })
})

t.test('a program counts as installed only when it is an executable file', async (t) => {
  const path = t.testdir({ data: 'text', folder: {} })
  writeProgram(path, 'runner', 'exit 0')
  t.ok(isInstalled('runner', path))
  t.notOk(isInstalled('data', path), 'not executable')
  t.notOk(isInstalled('folder', path), 'a directory')
  t.notOk(isInstalled('absent', path))
  t.ok(isInstalled(join(path, 'data'), ''), 'an absolute path need only exist')
  t.equal(isInstalled('ldconfig', ''), existsSync('/usr/sbin/ldconfig') || existsSync('/sbin/ldconfig'))
})

t.test('one of several alternative programs is enough', async (t) => {
  const path = t.testdir()
  t.notOk(isInstalled('redis-server|valkey-server', path))
  writeProgram(path, 'valkey-server', 'exit 0')
  t.ok(isInstalled('redis-server|valkey-server', path))
})

t.test('a path may contain a wildcard for the version', async (t) => {
  const root = t.testdir({ 15: { bin: { postgres: '' } } })
  t.ok(isInstalled(join(root, '*', 'bin', 'postgres'), ''))
  t.notOk(isInstalled(join(root, '*', 'bin', 'initdb'), ''))
})

t.test('a Python module counts as installed only when python3 can import it', async (t) => {
  const path = t.testdir()
  t.notOk(isInstalled('python3:ensurepip', path), 'no python3 at all')
  writeProgram(path, 'python3', `[ "$2" = 'import venv' ]`)
  t.ok(isInstalled('python3:venv', path))
  t.notOk(isInstalled('python3:ensurepip', path))
})

t.test('each package and program is listed once', async (t) => {
  t.equal(new Set(PACKAGES.map(({ name }) => name)).size, PACKAGES.length)
  t.equal(new Set(PACKAGES.map(({ provides }) => provides)).size, PACKAGES.length)
})

t.test('missing packages are named by their Debian names', async (t) => {
  const path = t.testdir()
  writeProgram(path, 'quuz', 'exit 0')
  t.strictSame(missingPackages(wanted, { PATH: path }), ['quux-tools'])
  t.strictSame(missingPackages(wanted, {}), ['quux-tools', 'quuz'], 'no PATH at all')
})

t.test('without missing packages, apt-get is not run', async (t) => {
  const directory = t.testdir()
  const { env, calls } = fakeApt(directory, 'exit 1')
  writeProgram(directory, 'quux', 'exit 0')
  writeProgram(directory, 'quuz', 'exit 0')
  t.strictSame(await installPackages(wanted, env), [])
  t.strictSame(calls(), [])
})

t.test('missing packages are installed in one unattended call, without an unnecessary update', async (t) => {
  const { env, calls } = fakeApt(t.testdir(), installBoth)
  t.strictSame(await installPackages(wanted, env), ['quux-tools', 'quuz'])
  t.strictSame(calls(), [
    'noninteractive: install -y -q -o DPkg::Lock::Timeout=120 --no-install-recommends quux-tools quuz',
  ])
})

t.test('missing package lists are fetched once, and then the installation is retried', async (t) => {
  const { env, calls } = fakeApt(
    t.testdir(),
    `if [ "$1" = update ]; then : > lists; fi
    [ -e lists ] || { echo 'E: Unable to locate package quux-tools' >&2; exit 100; }
    ${installBoth}`,
  )
  await installPackages(wanted, env)
  t.match(calls(), [/: install /, /: update -q$/, /: install /])
})

t.test("apt-get's own errors reach the operator, with the command to run", async (t) => {
  const { env } = fakeApt(t.testdir(), "echo 'E: No space left on device' >&2; exit 100")
  await t.rejects(installPackages(wanted, env), {
    message: 'apt-get could not install quux-tools, quuz: E: No space left on device',
    nextStep: /apt-get install -y --no-install-recommends quux-tools quuz$/,
  })
})

t.test('if apt-get fails without an error message, its exit code is reported', async (t) => {
  const { env } = fakeApt(t.testdir(), 'exit 9')
  await t.rejects(installPackages(wanted, env), { message: /exit code 9/ })
})

t.test('a package that does not install its program is reported', async (t) => {
  const { env } = fakeApt(t.testdir(), 'exit 0')
  await t.rejects(installPackages(wanted, env), { message: /success but quux, quuz cannot be found/ })
})

t.test('without root, the error has a command to copy', async (t) => {
  t.intercept(process, 'getuid', { value: () => 1000 })
  const { env, calls } = fakeApt(t.testdir(), installBoth)
  await t.rejects(installPackages(wanted, env), {
    name: 'ActionableError',
    nextStep: 'run as root: apt-get update && apt-get install -y --no-install-recommends quux-tools quuz',
  })
  t.strictSame(calls(), [])
})

t.test('without apt-get, the error names the packages', async (t) => {
  await t.rejects(installPackages(wanted, { PATH: t.testdir() }), { message: /lacks quux-tools, quuz/ })
})
