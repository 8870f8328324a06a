/**
 * `make test ONLY=systemd`: tests the box on a machine with systemd and cgroup version 2, as most people have. The
 * machine is emulated, so the check takes most of an hour, and a plain `make test` leaves it out. It runs
 * apps/eks-box/e2e/systemd.ts in the machine.
 */
import { existsSync, globSync, realpathSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { installPackages, PACKAGES, VIRTUAL_MACHINE_PACKAGES } from 'eks-box/packages'
import { execa } from 'execa'
import { REPOSITORY_ROOT, readEnvironment } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { awsPythonPath, missingTools, UP_TOOLS } from 'shared/tools'
import { saveImage } from '../image/image.ts'
import { providerMirror } from '../infrastructure/providers.ts'
import { boot, copyToRoot, installationOf, makeDisk, rootFileSystem } from './virtual-machine.ts'

/** Three times what an idle machine with 2 cores needs. In milliseconds. */
const timeLimit = 150 * 60_000

const environment = readEnvironment({ ...process.env, ENV: 'local', KUBE_CONTEXT: '' })
const { box } = environment
const consoleLog = join(box.cacheDir, 'virtual-machine.log')
const trial = join(REPOSITORY_ROOT, 'apps', 'eks-box', 'e2e', 'systemd.ts')

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const since = Date.now()
  const result = await work()
  console.log(`${what} (${((Date.now() - since) / 1000).toFixed(0)} s)`)
  return result
}

/** The path of `program`, with all symbolic links resolved. */
async function locate(program: string, remedy: string): Promise<string> {
  const { failed, stdout } = await execa('sh', ['-c', `command -v ${program}`], { reject: false })
  if (failed) throw new ActionableError(`${program} is not installed`, remedy)
  return realpathSync(stdout)
}

/** The systemd unit that runs the trial in the virtual machine and then powers the machine off. */
function trialUnit(command: readonly string[], variables: Readonly<Record<string, string>>): string {
  const quote = (text: string) => JSON.stringify(text.replaceAll('%', '%%'))
  return `[Unit]
Description=Trial of the box

[Service]
Type=exec
WorkingDirectory=${REPOSITORY_ROOT}
${Object.entries(variables)
  .map(([name, value]) => `Environment=${quote(`${name}=${value}`)}`)
  .join('\n')}
ExecStart=${command.map(quote).join(' ')}
ExecStopPost=/bin/sh -c 'echo "trial: $EXIT_STATUS" > /dev/ttyS1; systemctl poweroff --force'
StandardOutput=file:/dev/ttyS1

[Install]
WantedBy=multi-user.target
`
}

/** Copies the checkout (untracked files included), the tools and the trial's unit into `root`. */
async function populateRoot(root: string, image: string, tag: string): Promise<void> {
  const terraform = await locate('terraform', 'see `make doctor`')
  const mirror = providerMirror(environment.mirrors.providers)
  if (mirror === undefined) {
    throw new ActionableError(
      'the virtual machine has no network, so it needs Terraform providers from a mirror, but this machine has none',
      'create one with `terraform providers mirror <directory>` in infrastructure-hcl/cluster and set TERRAFORM_PROVIDER_MIRROR to it',
    )
  }
  const { stdout } = await execa({
    cwd: REPOSITORY_ROOT,
  })`git ls-files -z --cached --others --exclude-standard`
  const files = stdout.split('\0').filter(Boolean)
  const modules = globSync(['node_modules', '*/node_modules', '{apps,helm}/*/node_modules'], {
    cwd: REPOSITORY_ROOT,
  })
  const checkout = [...files, ...modules].map((path) => join(REPOSITORY_ROOT, path)).filter(existsSync)
  const python = installationOf(realpathSync(awsPythonPath(box)))
  await copyToRoot(root, [
    ...[...checkout, join(box.cacheDir, 'tools'), terraform, mirror, image],
    ...(python === undefined ? [] : [python]),
  ])
  // Otherwise make would run `npm ci`, because the lock file would be newer.
  await utimes(join(root, REPOSITORY_ROOT, 'node_modules'), new Date(), new Date())

  // Pulling the image takes longer than the default timeout of the migration.
  const slowValues = '/etc/slow-values.yaml'
  await writeFile(join(root, slowValues), 'migration: { timeoutSeconds: 1200 }\n')

  const units = join(root, 'etc/systemd/system')
  const variables = {
    HOME: '/root',
    // A serial port counts as a terminal, but cannot redraw progress lines.
    CI: 'true',
    PATH: ['/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', dirname(terraform)].join(
      delimiter,
    ),
    BOX_CACHE_DIR: box.cacheDir,
    // Emulation makes everything about ten times slower.
    BOX_START_TIMEOUT_SECONDS: '1200',
    ROLLOUT_TIMEOUT_SECONDS: '1200',
    VALUES: slowValues,
    TERRAFORM_PROVIDER_MIRROR: mirror,
    IMAGE_ARCHIVE: image,
    IMAGE_TAG: tag,
  }
  const node = realpathSync(process.execPath)
  await writeFile(join(units, 'trial.service'), trialUnit([node, trial], variables))
  await symlink('../trial.service', join(units, 'multi-user.target.wants', 'trial.service'))
  // By default, systemd gives a unit only 90 seconds to start.
  await mkdir(join(root, 'etc/systemd/system.conf.d'), { recursive: true })
  await writeFile(
    join(root, 'etc/systemd/system.conf.d/slow.conf'),
    '[Manager]\nDefaultTimeoutStartSec=30min\n',
  )
  // Otherwise systemd empties /tmp at boot, which may hold copied files.
  await mkdir(join(root, 'etc/tmpfiles.d'), { recursive: true })
  await symlink('/dev/null', join(root, 'etc/tmpfiles.d/tmp.conf'))
}

async function check(): Promise<void> {
  const interruption = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interruption.abort())
  const interrupt = interruption.signal
  if (process.arch !== 'x64') {
    throw new ActionableError(
      `the virtual machine needs an amd64 host, but this machine is ${process.arch}`,
      'run the check on an amd64 machine',
    )
  }
  const missing = missingTools(box, UP_TOOLS)
  if (missing.length > 0) {
    throw new ActionableError(
      `not built yet: ${missing.join(', ')}`,
      `build them with \`make tools TOOL="${missing.join(' ')}"\``,
    )
  }
  const installed = await installPackages(VIRTUAL_MACHINE_PACKAGES)
  if (installed.length > 0) console.log(`installed ${installed.join(', ')}`)

  const base = await timed('root file system with systemd', () =>
    rootFileSystem(
      join(box.cacheDir, 'virtual-machine'),
      ['make', ...PACKAGES.map(({ name }) => name)],
      interrupt,
    ),
  )
  const work = await mkdtemp(join(box.cacheDir, 'virtual-machine-'))
  try {
    const root = join(work, 'root')
    const disk = join(work, 'disk')
    const image = join(work, 'image.tar')
    const tag = await timed("the service's image", () => saveImage(environment, process.env, image))
    await timed('disk', async () => {
      await execa('cp', ['--archive', '--link', base, root])
      await populateRoot(root, image, tag)
      await makeDisk(root, disk, interrupt)
    })
    console.log(`booting the virtual machine; its console is logged to ${consoleLog}`)
    const since = Date.now()
    const status = await boot({
      root,
      disk,
      consoleLog,
      timeout: timeLimit,
      interrupt,
      onLine: (line) => {
        const minutes = ((Date.now() - since) / 60_000).toFixed(1).padStart(5)
        console.log(`${minutes} min  ${line}`)
      },
      result: /^trial: (.*)$/,
    })
    if (status === '0') return
    throw new ActionableError(
      'the box does not work on a machine with systemd and cgroup version 2',
      `see the reason above, or the machine's console in ${consoleLog}`,
    )
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

await check().catch(reportFailure)
