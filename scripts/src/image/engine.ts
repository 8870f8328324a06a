/** The program that builds, stores and pushes images: Docker or buildah. */
import { join } from 'node:path'
import { ECRClient, GetAuthorizationTokenCommand } from '@aws-sdk/client-ecr'
import { ExecaError, execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { buildahCommand } from 'shared/buildah'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'

export interface Engine {
  name: 'docker' | 'buildah'
  /** The program and its options before the subcommand. */
  command: readonly [string, ...string[]]
  /** The directory of buildah's images. */
  storage?: string
}

/** Docker if its daemon answers, because the client is often installed without one; otherwise buildah. */
export async function findEngine(box: BoxConfig): Promise<Engine> {
  const docker = await execa({ reject: false, timeout: 10_000 })`docker info`
  if (!docker.failed) return { name: 'docker', command: ['docker'] }
  const storage = join(box.cacheDir, 'buildah')
  const buildah = await execa({ reject: false })`buildah --version`
  if (buildah.failed) {
    throw new ActionableError(
      'building the image needs Docker or buildah, but neither is available',
      'install buildah with `apt-get install -y buildah`, or start Docker',
    )
  }
  return { name: 'buildah', command: buildahCommand(storage), storage }
}

/**
 * Runs a subcommand of the engine in the repository.
 *
 * @throws ActionableError with the last line of its output
 */
export async function run(engine: Engine, args: readonly string[]): Promise<void> {
  const [program, ...options] = engine.command
  try {
    await execa(program, [...options, ...args], { cwd: REPOSITORY_ROOT, all: true })
  } catch (cause) {
    if (!(cause instanceof ExecaError)) throw cause
    throw engineFailure(engine, args[0] ?? '', String(cause.all), cause)
  }
}

function engineFailure(
  { name, storage }: Engine,
  step: string,
  output: string,
  cause: Error,
): ActionableError {
  const lastLine = output.trimEnd().split('\n').at(-1) ?? ''
  if (/no space left on device/.test(output)) {
    return new ActionableError('the disk is full', 'free disk space, then run the command again', { cause })
  }
  if (/connection refused|ECONNREFUSED/.test(output)) {
    return new ActionableError(`the registry does not answer: ${lastLine}`, 'start the box with `make up`', {
      cause,
    })
  }
  if (/unauthorized|authentication required|no basic auth credentials|denied/i.test(output)) {
    return new ActionableError(
      `the registry refuses the push: ${lastLine}`,
      'check that your AWS principal may push to it (ecr:PutImage); for a registry other than ECR, log in first',
      { cause },
    )
  }
  if (
    step === 'build' &&
    /did not resolve to an alias|pinging container registry|manifest unknown|no such host/.test(output)
  ) {
    return new ActionableError(
      `the base image cannot be pulled: ${lastLine}`,
      'set BASE_IMAGE to an image with Node 24 from your registry',
      { cause },
    )
  }
  return new ActionableError(
    `${name} ${step} failed: ${lastLine}`,
    storage === undefined
      ? 'see the logs of the Docker daemon'
      : `if its storage is damaged, delete ${storage}`,
    { cause },
  )
}

/** Whether the engine's storage has an image. */
export async function imageExists(engine: Engine, image: string): Promise<boolean> {
  const [program, ...options] = engine.command
  const inspect = engine.name === 'docker' ? ['image', 'inspect'] : ['inspect', '--type', 'image']
  return !(await execa(program, [...options, ...inspect, image], { reject: false })).failed
}

/** Removes outdated images, of about 150 MB each, and the layers of unused build stages from buildah's storage. */
export async function removeOldImages(engine: Engine, keep: readonly (string | undefined)[]): Promise<void> {
  const [program, ...options] = engine.command
  const { stdout } = await execa(program, [...options, 'images', '--format', '{{.Name}}:{{.Tag}}'])
  const outdated = stdout.split('\n').filter((name) => name.startsWith('localhost/') && !keep.includes(name))
  if (outdated.length > 0) await run(engine, ['rmi', ...outdated])
  await run(engine, ['rmi', '--prune', '--force'])
}

/** Logs the engine in to the ECR registry of `repository`. The token lasts twelve hours. */
export async function signIn(engine: Engine, repository: string): Promise<void> {
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
