/** `make build` and `make push`: the service's image, with a tag derived from its content. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { Command } from 'commander'
import { ExecaError, execa } from 'execa'
import { type Environment, REPOSITORY_ROOT, readEnvironment, SERVICE } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { BASE_DOCKERFILE, pinnedNodeVersion, resolveBaseImage, writeRootfs } from './base-image.ts'
import { type Engine, findEngine, imageExists, removeOldImages, run, signIn } from './engine.ts'
import { imageRepository } from './repository.ts'

const dockerfile = join('apps', 'fastify-api', 'Dockerfile')
const bundle = join(REPOSITORY_ROOT, 'apps', 'fastify-api', 'dist')

/** What the image is built from, besides the bundle and the Dockerfile. */
interface Recipe {
  platform: string
  /** The base image's reference, or the pin of the one built from Debian packages. */
  base: string
}

/**
 * Derives the image's tag from its content: ECR's tags are immutable, so different content needs a different tag. The
 * same content on the same base has the same tag on every machine.
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

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const since = Date.now()
  const result = await work()
  console.log(`${what} (${((Date.now() - since) / 1000).toFixed(1)} s)`)
  return result
}

const hostPlatform = `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`

/** What to build and where to push it. */
interface Request {
  environment: Environment
  /** `PLATFORM`: by default this machine's for a local cluster, and ARM64 for the nodes on AWS. */
  platform: string
  /** `BASE_IMAGE`: replaces the project's own base. */
  baseImage: string | undefined
  /** `IMAGE_REPOSITORY`: replaces the repository that the cluster stack created. */
  imageRepository: string | undefined
}

function readRequest(environment: Environment, env: NodeJS.ProcessEnv): Request {
  const platform = env['PLATFORM'] || (environment.name === 'local' ? hostPlatform : 'linux/arm64')
  return {
    environment,
    platform,
    baseImage: env['BASE_IMAGE'] || undefined,
    imageRepository: env['IMAGE_REPOSITORY'] || undefined,
  }
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

/** The checkout's commit, which the service reports. */
async function commit(): Promise<string> {
  const git = await execa({ cwd: REPOSITORY_ROOT, reject: false })`git rev-parse HEAD`
  return git.failed ? 'unknown' : git.stdout
}

/** Builds this checkout's image, unless the engine's storage has it. */
async function build(request: Request): Promise<{ engine: Engine; tag: string }> {
  await timed('bundle', buildBundle)
  const engine = await findEngine(request.environment.box)
  const { platform } = request
  const base = await chooseBase(engine, request)
  const tag = contentTag({ platform, base: base.pin })
  const image = `localhost/${SERVICE}:${tag}`
  if (await imageExists(engine, image)) {
    console.log(`image ${SERVICE}:${tag} is already built`)
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
    if (engine.name === 'buildah') await removeOldImages(engine, [image, base.image])
  })
  return { engine, tag }
}

interface Base {
  /** The base's contribution to the tag. */
  pin: string
  /** The base's reference. Without one, the Dockerfile builds its own base. */
  image?: string
  /** Builds the base image unless it exists. */
  prepare: () => Promise<void>
}

async function chooseBase(
  engine: Engine,
  { environment: { box }, platform, baseImage }: Request,
): Promise<Base> {
  if (baseImage) return { pin: baseImage, image: baseImage, prepare: async () => {} }
  // With Docker, the Dockerfile builds the same base itself, from a builder image that Docker pulls.
  if (engine.name === 'docker') {
    return { pin: `Node ${pinnedNodeVersion(platform)}`, prepare: async () => {} }
  }
  if (platform !== hostPlatform) {
    throw new ActionableError(
      `this machine (${hostPlatform}) cannot build a base image for ${platform}`,
      'set BASE_IMAGE to an image with Node 24 from your registry, or start Docker',
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

async function push(request: Request): Promise<void> {
  const { environment } = request
  const { box } = environment
  const repository = await imageRepository(environment, request.imageRepository)
  const { engine, tag } = await build(request)
  if (!environment.usesBox) await signIn(engine, repository)
  const registry = `127.0.0.1:${box.ports.registry}`
  const target = environment.usesBox ? `${registry}/${SERVICE}:${tag}` : `${repository}:${tag}`
  if (environment.usesBox && (await isPushed(registry, tag))) {
    console.log(`image ${SERVICE}:${tag} is already in the registry`)
    return
  }
  const image = `localhost/${SERVICE}:${tag}`
  const send = async () => {
    if (engine.name === 'docker') {
      await run(engine, ['tag', image, target])
      await run(engine, ['push', target])
    } else {
      // Like Docker, use plain HTTP for registries on loopback.
      const useTls = !/^(127\.|localhost[:/])/.test(target)
      await run(engine, ['push', `--tls-verify=${useTls}`, image, `docker://${target}`])
    }
  }
  try {
    await timed(`pushed ${repository}:${tag}`, send)
  } catch (failure) {
    if (!isImmutableTag(failure)) throw failure
    console.log(`image ${repository}:${tag} is already in the registry`)
  }
  if (environment.usesBox) console.log(`compressed size ${await compressedMegabytes(registry, tag)} MB`)
}

/** ECR refuses to overwrite a tag. Because ours identify the content, the image is then already there. */
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
 * Builds this checkout's image, unless it exists, and writes it to an archive in the format of `docker save`.
 *
 * @returns the image's tag; its name in the archive is `localhost/fastify-app:<tag>`
 * @throws ActionableError when the image cannot be built or written
 */
export async function saveImage(
  environment: Environment,
  env: NodeJS.ProcessEnv,
  file: string,
): Promise<string> {
  const { engine, tag } = await build(readRequest(environment, env))
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
 * The reference by which the environment's pods pull this checkout's image, or the image with the tag `IMAGE_TAG`.
 *
 * @throws ActionableError when the bundle is not built.
 */
export async function imageReference(
  environment: Environment,
  env: NodeJS.ProcessEnv,
): Promise<{ repository: string; tag: string }> {
  const request = readRequest(environment, env)
  const repository = await imageRepository(environment, request.imageRepository)
  const tag = env['IMAGE_TAG']
  if (tag) return { repository, tag }
  const { pin } = await chooseBase(await findEngine(environment.box), request)
  return { repository, tag: contentTag({ platform: request.platform, base: pin }) }
}

if (import.meta.main) {
  const program = new Command('image')
    .description(
      "Builds and pushes the service's image. Reads ENV, BASE_IMAGE, PLATFORM, IMAGE_REPOSITORY and IMAGE_TAG.",
    )
    .showHelpAfterError()
  program
    .command('build')
    .description('build the image unless it exists')
    .action(async () => {
      await build(readRequest(readEnvironment(process.env), process.env))
    })
  program
    .command('push')
    .description('build and push the image unless the registry has it')
    .action(() => push(readRequest(readEnvironment(process.env), process.env)))
  program
    .command('reference')
    .description('print the reference by which pods pull the image')
    .action(async () => {
      const { repository, tag } = await imageReference(readEnvironment(process.env), process.env)
      console.log(`${repository}:${tag}`)
    })
  await program.parseAsync().catch(reportFailure)
}
