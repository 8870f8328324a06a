/** `make build` and `make push`: the service's image under a tag that is made from its content. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { ECRClient, GetAuthorizationTokenCommand } from '@aws-sdk/client-ecr'
import { Command } from 'commander'
import { ExecaError, execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { type Environment, REPOSITORY_ROOT, readEnvironment, SERVICE } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { BASE_DOCKERFILE, pinnedNodeVersion, resolveBaseImage, writeRootfs } from './base-image.ts'
import { imageRepository } from './repository.ts'

const dockerfile = join('apps', 'fastify-api', 'Dockerfile')
const bundle = join(REPOSITORY_ROOT, 'apps', 'fastify-api', 'dist')

/** What the image's content comes from, the bundle apart. */
interface Recipe {
  platform: string
  /** The base image's reference, or the pin of the one made from Debian packages. */
  base: string
}

/**
 * The image's tag: the same content gives the same tag, on every machine that has the same base. ECR's
 * tags are immutable, so a tag must never come to mean something else.
 *
 * @throws ActionableError when the bundle is not built.
 */
export function contentTag(recipe: Recipe, bundleDirectory = bundle): string {
  const entries = existsSync(bundleDirectory)
    ? readdirSync(bundleDirectory, { recursive: true, withFileTypes: true })
    : []
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(bundleDirectory, join(entry.parentPath, entry.name)))
    .sort()
  if (files.length === 0) {
    throw new ActionableError("the service's bundle is not built", 'build it with `make build`')
  }
  const content = createHash('sha256').update(JSON.stringify(recipe))
  content.update(readFileSync(join(REPOSITORY_ROOT, dockerfile)))
  for (const file of files) content.update(file).update(readFileSync(join(bundleDirectory, file)))
  return content.digest('hex').slice(0, 12)
}

/** A program that builds, keeps and pushes images. */
interface Engine {
  name: 'docker' | 'buildah'
  /** The command and the options that come before its subcommand. */
  command: readonly [string, ...string[]]
}

/** Docker where an engine answers: the client alone is often there without one. Else buildah. */
async function findEngine(box: BoxConfig): Promise<Engine> {
  const docker = await execa({ reject: false, timeout: 10_000 })`docker info`
  if (!docker.failed) return { name: 'docker', command: ['docker'] }
  const storage = join(box.cacheDir, 'buildah')
  const buildah = await execa({ reject: false })`buildah --version`
  if (buildah.failed) {
    throw new ActionableError(
      'there is neither a Docker engine nor buildah to build the image with',
      'install buildah with `apt-get install -y buildah`, or start Docker',
    )
  }
  return {
    name: 'buildah',
    // Plain directories: unlike overlays they leave no mounts behind (which keep anyone from removing the
    // cache) and work on any file system, a container's own overlay among them.
    command: [
      'buildah',
      ...['--root', join(storage, 'root'), '--runroot', join(storage, 'run'), '--storage-driver', 'vfs'],
    ],
  }
}

async function run(engine: Engine, args: readonly string[]): Promise<void> {
  const [program, ...options] = engine.command
  try {
    await execa(program, [...options, ...args], { cwd: REPOSITORY_ROOT, all: true })
  } catch (cause) {
    if (!(cause instanceof ExecaError)) throw cause
    throw engineFailure(engine, args[0] ?? '', String(cause.all), cause)
  }
}

function engineFailure(
  { name, command }: Engine,
  step: string,
  output: string,
  cause: Error,
): ActionableError {
  const said = output.trimEnd().split('\n').at(-1) ?? ''
  if (/no space left on device/.test(output)) {
    return new ActionableError('the disk is full', 'free disk space, then run the command again', { cause })
  }
  if (/connection refused|ECONNREFUSED/.test(output)) {
    return new ActionableError(`the registry does not answer: ${said}`, 'start the box with `make up`', {
      cause,
    })
  }
  if (/unauthorized|authentication required|no basic auth credentials|denied/i.test(output)) {
    return new ActionableError(
      `the registry refuses the push: ${said}`,
      'see that your AWS principal may push to it (ecr:PutImage), or log in to a registry of another kind first',
      { cause },
    )
  }
  if (
    step === 'build' &&
    /did not resolve to an alias|pinging container registry|manifest unknown|no such host/.test(output)
  ) {
    return new ActionableError(
      `the base image cannot be pulled: ${said}`,
      'set BASE_IMAGE to an image with Node 24 that a registry of yours serves',
      { cause },
    )
  }
  const storage = command[2]
  return new ActionableError(
    `${name} ${step} failed: ${said}`,
    storage === undefined ? 'see what `docker` says of it' : `if its storage is damaged, remove ${storage}`,
    { cause },
  )
}

async function imageExists(engine: Engine, image: string): Promise<boolean> {
  const [program, ...options] = engine.command
  const inspect = engine.name === 'docker' ? ['image', 'inspect'] : ['inspect', '--type', 'image']
  return !(await execa(program, [...options, ...inspect, image], { reject: false })).failed
}

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const since = Date.now()
  const result = await work()
  console.log(`${what} (${((Date.now() - since) / 1000).toFixed(1)} s)`)
  return result
}

const hostPlatform = `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`

/** Which image to build, and how. */
interface Request {
  environment: Environment
  /** `PLATFORM`. By default that of this machine for local clusters, and ARM64 for the nodes on AWS. */
  platform: string
  /** The image to build on in place of the project's own base: `BASE_IMAGE`. */
  baseImage: string | undefined
}

function readRequest(environment: Environment, env: NodeJS.ProcessEnv): Request {
  const platform = env['PLATFORM'] || (environment.name === 'local' ? hostPlatform : 'linux/arm64')
  return { environment, platform, baseImage: env['BASE_IMAGE'] }
}

async function buildBundle(): Promise<void> {
  const turbo = await execa({
    cwd: REPOSITORY_ROOT,
    all: true,
    reject: false,
  })`turbo run build --filter=fastify-api --output-logs=errors-only`
  if (!turbo.failed) return
  process.stderr.write(`${turbo.all}\n`)
  throw new ActionableError("the service's bundle does not build", 'fix the errors above')
}

/** The commit of this checkout, for the service to show. */
async function commit(): Promise<string> {
  const git = await execa({ cwd: REPOSITORY_ROOT, reject: false })`git rev-parse HEAD`
  return git.failed ? 'unknown' : git.stdout
}

/** The image of this checkout in the engine's own storage, built unless it is there already. */
async function build(request: Request): Promise<{ engine: Engine; tag: string }> {
  await timed('bundle', buildBundle)
  const engine = await findEngine(request.environment.box)
  const { platform } = request
  const base = await chooseBase(engine, request)
  const tag = contentTag({ platform, base: base.pin })
  const image = `localhost/${SERVICE}:${tag}`
  if (await imageExists(engine, image)) {
    console.log(`image ${SERVICE}:${tag} is built already, nothing to do`)
    return { engine, tag }
  }
  await timed(`image ${SERVICE}:${tag} by ${engine.name} for ${platform}`, async () => {
    await base.prepare()
    const baseImage = base.image === undefined ? [] : ['--build-arg', `BASE_IMAGE=${base.image}`]
    const reproducible = engine.name === 'docker' ? ['--provenance=false'] : ['--timestamp', '0']
    await run(engine, [
      'build',
      ...['--platform', platform, '--file', dockerfile, '--tag', image],
      ...['--build-arg', 'BUNDLE=prebuilt', '--build-arg', `COMMIT=${await commit()}`],
      ...[...baseImage, ...reproducible, '.'],
    ])
    if (engine.name === 'buildah') await removeFormer(engine, [image, base.image])
  })
  return { engine, tag }
}

/**
 * Removes the service's former images from buildah's storage, each a copy of some 150 MB, and what builds
 * left of their stages.
 */
async function removeFormer(engine: Engine, keep: readonly (string | undefined)[]): Promise<void> {
  const [program, ...options] = engine.command
  const { stdout } = await execa(program, [...options, 'images', '--format', '{{.Name}}:{{.Tag}}'])
  const former = stdout.split('\n').filter((name) => name.startsWith('localhost/') && !keep.includes(name))
  if (former.length > 0) await run(engine, ['rmi', ...former])
  await run(engine, ['rmi', '--prune', '--force'])
}

interface Base {
  /** Part of what the tag is made from. */
  pin: string
  /** The base's reference; the Dockerfile's own stage where there is none. */
  image?: string
  /** Makes the base image where it is not there yet. */
  prepare: () => Promise<void>
}

async function chooseBase(
  engine: Engine,
  { environment: { box }, platform, baseImage }: Request,
): Promise<Base> {
  if (baseImage) return { pin: baseImage, image: baseImage, prepare: async () => {} }
  // Where an engine runs, it can pull the builder with which the Dockerfile makes the same base itself.
  if (engine.name === 'docker') {
    return { pin: `Node ${pinnedNodeVersion(platform)}`, prepare: async () => {} }
  }
  if (platform !== hostPlatform) {
    throw new ActionableError(
      `a base image for ${platform} cannot be made from this machine's packages (${hostPlatform})`,
      'set BASE_IMAGE to an image with Node 24 that your registry serves, or start a Docker engine',
    )
  }
  const packages = join(box.cacheDir, 'debian')
  const base = await resolveBaseImage(packages)
  const image = `localhost/node-base:${base.pin}`
  const prepare = async () => {
    if (await imageExists(engine, image)) return
    const directory = await mkdtemp(join(box.cacheDir, 'base-'))
    try {
      const context = join(directory, 'rootfs')
      await mkdir(context)
      await writeRootfs(base, packages, context)
      const file = join(directory, 'Dockerfile')
      await writeFile(file, BASE_DOCKERFILE)
      await run(engine, ['build', '--timestamp', '0', '--file', file, '--tag', image, context])
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }
  return { pin: base.pin, image, prepare }
}

/** Signs the engine in to the ECR registry of `repository`, for the twelve hours its tokens last. */
async function signIn(engine: Engine, repository: string): Promise<void> {
  const [, host = '', region = ''] =
    /^(\d{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com[^/]*)\//.exec(repository) ?? []
  if (host === '') return
  const { authorizationData = [] } = await new ECRClient({ region }).send(
    new GetAuthorizationTokenCommand({}),
  )
  const [user = '', password = ''] = Buffer.from(authorizationData[0]?.authorizationToken ?? '', 'base64')
    .toString()
    .split(':')
  const [program, ...options] = engine.command
  await execa(program, [...options, 'login', '--username', user, '--password-stdin', host], {
    input: password,
  })
}

async function push(request: Request): Promise<void> {
  const { environment } = request
  const { box } = environment
  const repository = await imageRepository(environment, process.env)
  const { engine, tag } = await build(request)
  if (!environment.usesBox) await signIn(engine, repository)
  const registry = `127.0.0.1:${box.ports.registry}`
  const target = environment.usesBox ? `${registry}/${SERVICE}:${tag}` : `${repository}:${tag}`
  if (environment.usesBox && (await isPushed(registry, tag))) {
    console.log(`image ${SERVICE}:${tag} is in the registry already, nothing to do`)
    return
  }
  const image = `localhost/${SERVICE}:${tag}`
  const send = async () => {
    if (engine.name === 'docker') {
      await run(engine, ['tag', image, target])
      await run(engine, ['push', target])
    } else {
      // As Docker does, take a registry on loopback to speak plain HTTP.
      const encrypted = !/^(127\.|localhost[:/])/.test(target)
      await run(engine, ['push', `--tls-verify=${encrypted}`, image, `docker://${target}`])
    }
  }
  try {
    await timed(`pushed ${repository}:${tag}`, send)
  } catch (failure) {
    if (!isImmutableTag(failure)) throw failure
    console.log(`image ${repository}:${tag} is in the registry already, nothing to do`)
  }
  if (environment.usesBox) console.log(`compressed size ${await compressedMegabytes(registry, tag)} MB`)
}

/** ECR refuses to write a tag twice. Ours stand for one content, so what it has is what was to be pushed. */
function isImmutableTag(failure: unknown): boolean {
  const cause = failure instanceof ActionableError ? failure.cause : undefined
  return cause instanceof ExecaError && /already exists.*immutable/s.test(String(cause.all))
}

const manifestTypes = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ')

async function manifest(registry: string, tag: string, method: 'GET' | 'HEAD'): Promise<Response> {
  try {
    return await fetch(`http://${registry}/v2/${SERVICE}/manifests/${tag}`, {
      method,
      headers: { accept: manifestTypes },
    })
  } catch (cause) {
    throw new ActionableError(`the registry ${registry} does not answer`, 'start the box with `make up`', {
      cause,
    })
  }
}

async function isPushed(registry: string, tag: string): Promise<boolean> {
  return (await manifest(registry, tag, 'HEAD')).ok
}

async function compressedMegabytes(registry: string, tag: string): Promise<string> {
  const { layers } = (await (await manifest(registry, tag, 'GET')).json()) as { layers: { size: number }[] }
  return (layers.reduce((sum, { size }) => sum + size, 0) / 1e6).toFixed(1)
}

/**
 * Writes the image of this checkout, built unless it is there already, to an archive as `docker save` makes it.
 *
 * @returns the image's tag; in the archive its name is `localhost/fastify-app:<tag>`.
 * @throws ActionableError when it cannot be built or written.
 */
export async function saveImage(environment: Environment, file: string): Promise<string> {
  const { engine, tag } = await build(readRequest(environment, process.env))
  const image = `localhost/${SERVICE}:${tag}`
  await run(
    engine,
    engine.name === 'docker'
      ? ['save', '--output', file, image]
      : ['push', image, `docker-archive:${file}:${image}`],
  )
  return tag
}

/**
 * The reference under which pods of `environment` pull this checkout's image; `IMAGE_TAG` names another.
 *
 * @throws ActionableError when the bundle is not built.
 */
export async function imageReference(
  environment: Environment,
  env: NodeJS.ProcessEnv,
): Promise<{ repository: string; tag: string }> {
  const repository = await imageRepository(environment, env)
  const given = env['IMAGE_TAG']
  if (given) return { repository, tag: given }
  const request = readRequest(environment, env)
  const { pin } = await chooseBase(await findEngine(environment.box), request)
  return { repository, tag: contentTag({ platform: request.platform, base: pin }) }
}

if (import.meta.main) {
  const program = new Command('image')
    .description(
      "Builds and pushes the service's image. BASE_IMAGE, PLATFORM and IMAGE_REPOSITORY choose what and where.",
    )
    .showHelpAfterError()
  program
    .command('build')
    .description('build it unless it is built')
    .action(async () => {
      await build(readRequest(readEnvironment(process.env), process.env))
    })
  program
    .command('push')
    .description('push it unless it is there')
    .action(() => push(readRequest(readEnvironment(process.env), process.env)))
  program
    .command('reference')
    .description('print the reference that pods pull')
    .action(async () => {
      const { repository, tag } = await imageReference(readEnvironment(process.env), process.env)
      console.log(`${repository}:${tag}`)
    })
  await program.parseAsync().catch(reportFailure)
}
