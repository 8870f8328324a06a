/**
 * `make test ONLY=systemd`: the box on a machine as most people have one, with systemd and cgroup version 2. The
 * machine is emulated, so the check takes most of an hour and is no part of `make test`. What happens inside is
 * apps/eks-box/e2e/systemd.ts.
 */
import { existsSync, globSync, realpathSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { installPackages, PACKAGES, VIRTUAL_MACHINE_PACKAGES } from 'eks-box/packages'
import { awsPythonPath, missingTools, UP_TOOLS } from 'eks-box/tools'
import { execa } from 'execa'
import { REPOSITORY_ROOT, readEnvironment } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { saveImage } from '../image/image.ts'
import { providerMirror } from '../infrastructure/terraform.ts'
import { boot, bringAlong, installationOf, makeDisk, rootFileSystem } from './virtual-machine.ts'

/** An idle machine with 2 cores needs a third of it. In milliseconds. */
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

/** Where `program` is once all links are followed. */
async function locate(program: string, remedy: string): Promise<string> {
  const { failed, stdout } = await execa('sh', ['-c', `command -v ${program}`], { reject: false })
  if (failed) throw new ActionableError(`${program} is not installed`, remedy)
  return realpathSync(stdout)
}

/** The service in the virtual machine that runs the trial, and ends the machine with it. */
function trialUnit(command: readonly string[], variables: Readonly<Record<string, string>>): string {
  const quote = (text: string) => JSON.stringify(text.replaceAll('%', '%%'))
  return `[Unit]
Description=The box's trial

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

/** Puts the checkout, with what git does not know of, the tools and the trial's service into `root`. */
async function furnish(root: string, image: string, tag: string): Promise<void> {
  const terraform = await locate('terraform', 'see `make doctor`')
  const mirror = providerMirror()
  if (mirror === undefined) {
    throw new ActionableError(
      'the virtual machine has no network, and this machine has no Terraform providers that it could take along',
      'make a directory with `terraform providers mirror` in infrastructure-hcl/cluster and set TERRAFORM_PROVIDER_MIRROR',
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
  await bringAlong(root, [
    ...[...checkout, join(box.cacheDir, 'tools'), terraform, mirror, image],
    ...(python === undefined ? [] : [python]),
  ])
  // Make installs the dependencies when the lock file is newer.
  await utimes(join(root, REPOSITORY_ROOT, 'node_modules'), new Date(), new Date())

  // The migration's Job has to wait while the image is pulled.
  const slowValues = '/etc/slow-values.yaml'
  await writeFile(join(root, slowValues), 'migration: { timeoutSeconds: 1200 }\n')

  const units = join(root, 'etc/systemd/system')
  const variables = {
    HOME: '/root',
    // A serial port looks like a terminal, but shows no lines that redraw themselves.
    CI: 'true',
    PATH: ['/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', dirname(terraform)].join(
      delimiter,
    ),
    BOX_CACHE_DIR: box.cacheDir,
    // Everything takes ten times as long here.
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
  // systemd gives a service 90 seconds to start.
  await mkdir(join(root, 'etc/systemd/system.conf.d'), { recursive: true })
  await writeFile(
    join(root, 'etc/systemd/system.conf.d/slow.conf'),
    '[Manager]\nDefaultTimeoutStartSec=30min\n',
  )
  // Or the start of the machine empties /tmp, where parts of this may lie.
  await mkdir(join(root, 'etc/tmpfiles.d'), { recursive: true })
  await symlink('/dev/null', join(root, 'etc/tmpfiles.d/tmp.conf'))
}

async function check(): Promise<void> {
  const interruption = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interruption.abort())
  const interrupt = interruption.signal
  if (process.arch !== 'x64') {
    throw new ActionableError(
      `the virtual machine is one for amd64, this machine is ${process.arch}`,
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
    const tag = await timed("the service's image", () => saveImage(environment, image))
    await timed('disk', async () => {
      await execa('cp', ['--archive', '--link', base, root])
      await furnish(root, image, tag)
      await makeDisk(root, disk, interrupt)
    })
    console.log(`booting; its console goes to ${consoleLog}`)
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
      `the reason is shown above; the machine's console is in ${consoleLog}`,
    )
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

await check().catch(reportFailure)
