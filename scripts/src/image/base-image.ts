import { createHash } from 'node:crypto'
import { chmodSync, existsSync, readFileSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ExecaError, execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'

/**
 * The base image for machines without access to an image registry: the C and C++ libraries that Node needs, from Debian
 * packages, and the Node binary that the repository pins as an npm package. It contains no shell and no package manager.
 * The Dockerfile's stage `base` builds the same with Docker, and released images use that.
 */
export interface BaseImage {
  /** Changes with the package versions, the Node version and this file. */
  pin: string
  packages: DebianPackage[]
  /** The pinned Node binary. */
  node: string
}

/** A package file as apt lists it. */
export interface DebianPackage {
  name: string
  file: string
  algorithm: string
  digest: string
}

// base-files provides /etc/os-release, by which scanners recognise Debian packages.
export const PACKAGE_NAMES = ['base-files', 'libc6', 'libgcc-s1', 'libstdc++6']

/** User and group id of the service, as in common "nonroot" images. */
export const NONROOT_ID = 65532

/** Dockerfile that makes an image from the output of {@link writeRootfs}. */
export const BASE_DOCKERFILE = `FROM scratch
COPY . /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER ${NONROOT_ID}:${NONROOT_ID}
`

/**
 * Determines the contents of the base image, and downloads the packages that `cacheDirectory` lacks.
 *
 * @throws ActionableError when apt-get is missing or fails, or the pinned Node is not installed
 */
export async function resolveBaseImage(cacheDirectory: string): Promise<BaseImage> {
  const node = await pinnedNode()
  const packages = await downloadPackages(cacheDirectory)
  const pin = createHash('sha256')
    .update(JSON.stringify([packages, node.version]))
    .update(readFileSync(import.meta.filename))
    .digest('hex')
    .slice(0, 12)
  return { pin, packages, node: node.binary }
}

/** Writes the base image's file system to an empty directory, from what {@link resolveBaseImage} downloaded. */
export async function writeRootfs(base: BaseImage, cacheDirectory: string, directory: string): Promise<void> {
  await mkdir(join(directory, 'usr/local/bin'), { recursive: true })
  // Merged /usr, as on an installed Debian, whatever paths the packages use.
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mkdir(join(directory, 'usr', name), { recursive: true })
    await symlink(join('usr', name), join(directory, name))
  }
  const records = join(directory, 'var/lib/dpkg/status.d')
  for (const { name, file } of base.packages) {
    const archive = join(cacheDirectory, file)
    // `dpkg-deb --extract` would replace these links by directories.
    await execa`dpkg-deb --fsys-tarfile ${archive}`.pipe`tar -x --keep-directory-symlink -C ${directory}`
    // Scanners read the installed packages from here if there is no dpkg database.
    await mkdir(records, { recursive: true })
    await writeFile(join(records, name), (await execa`dpkg-deb --field ${archive}`).stdout)
  }
  await copyFile(base.node, join(directory, 'usr/local/bin/node'))
  chmodSync(join(directory, 'usr/local/bin/node'), 0o755)
  await writeFile(
    join(directory, 'etc/passwd'),
    `root:x:0:0:root:/root:/usr/sbin/nologin\nnonroot:x:${NONROOT_ID}:${NONROOT_ID}:nonroot:/home/nonroot:/usr/sbin/nologin\n`,
  )
  await writeFile(join(directory, 'etc/group'), `root:x:0:\nnonroot:x:${NONROOT_ID}:\n`)
  // Without this file, glibc queries DNS before /etc/hosts.
  await writeFile(join(directory, 'etc/nsswitch.conf'), 'hosts: files dns\n')
}

/**
 * The Node version of images, which package.json pins.
 *
 * @param platform - the image's, such as `linux/arm64`
 */
export function pinnedNodeVersion(platform: string): string {
  const { optionalDependencies }: { optionalDependencies: Record<string, string> } = JSON.parse(
    readFileSync(join(REPOSITORY_ROOT, 'package.json'), 'utf8'),
  )
  const version = optionalDependencies[`node-${platform.replace('/', '-').replace('amd64', 'x64')}`]
  if (version !== undefined) return version
  throw new ActionableError(
    `package.json pins no Node for ${platform}`,
    'build for linux/amd64 or linux/arm64, or set BASE_IMAGE to an image with Node 24 for that platform',
  )
}

async function pinnedNode(): Promise<{ binary: string; version: string }> {
  const directory = join(REPOSITORY_ROOT, 'node_modules', `node-linux-${process.arch}`)
  const binary = join(directory, 'bin/node')
  if (!existsSync(binary)) {
    throw new ActionableError(
      `the pinned Node for linux ${process.arch} is not installed`,
      'install the dependencies with `npm ci`, including the optional ones',
    )
  }
  const manifest: { version: string } = JSON.parse(await readFile(join(directory, 'package.json'), 'utf8'))
  return { binary, version: manifest.version }
}

async function downloadPackages(cacheDirectory: string): Promise<DebianPackage[]> {
  const download = async () => {
    const { stdout } = await execa`apt-get download --print-uris ${PACKAGE_NAMES}`
    const packages = parseUris(stdout)
    const absent = packages.filter((entry) => !isIntact(join(cacheDirectory, entry.file), entry))
    if (absent.length > 0) {
      await fetchPackages(
        absent.map(({ name }) => name),
        cacheDirectory,
      )
    }
    return packages
  }
  try {
    try {
      return await download()
    } catch (failure) {
      // The package lists are missing or outdated. Only root can update them.
      if (!(failure instanceof ExecaError) || failure.code === 'ENOENT' || process.getuid?.() !== 0)
        throw failure
      await execa`apt-get update -q`
      return await download()
    }
  } catch (cause) {
    if (!(cause instanceof ExecaError)) throw cause
    if (cause.code === 'ENOENT') {
      throw new ActionableError(
        'building a base image needs apt-get, which this machine lacks',
        'set BASE_IMAGE to an image with Node 24 from your registry, or start Docker',
        { cause },
      )
    }
    throw new ActionableError(
      `apt-get cannot download the base image's packages: ${String(cause.stderr).match(/^E: .*$/m)?.[0] ?? cause.shortMessage}`,
      'update the package lists with `apt-get update` as root, or set BASE_IMAGE to an image from your registry',
      { cause },
    )
  }
}

/** Downloads to a temporary directory first, so that an interruption leaves no partial file in the cache. */
async function fetchPackages(names: string[], cacheDirectory: string): Promise<void> {
  await mkdir(cacheDirectory, { recursive: true })
  const incoming = await mkdtemp(`${cacheDirectory}-`)
  try {
    // As root, apt would download as a user that cannot write here, and print a warning.
    await execa({ cwd: incoming })`apt-get download -o APT::Sandbox::User=root ${names}`
    const { stdout } = await execa`find ${incoming} -name *.deb -printf %f\\n`
    for (const file of stdout.split('\n')) await rename(join(incoming, file), join(cacheDirectory, file))
  } finally {
    await rm(incoming, { recursive: true, force: true })
  }
}

/** Parses the output of `apt-get download --print-uris`: lines of the form `'uri' file size ALGORITHM:digest`. */
export function parseUris(output: string): DebianPackage[] {
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const match = /^'[^']+' (\S+) \d+ (SHA256|SHA512):([0-9a-f]+)$/.exec(line)
      const [, file, algorithm, digest] = match ?? []
      if (!file || !algorithm || !digest) throw new Error(`apt-get printed an unexpected line: ${line}`)
      return { name: file.slice(0, file.indexOf('_')), file, algorithm: algorithm.toLowerCase(), digest }
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

function isIntact(path: string, { algorithm, digest }: DebianPackage): boolean {
  if (!existsSync(path)) return false
  return createHash(algorithm).update(readFileSync(path)).digest('hex') === digest
}
