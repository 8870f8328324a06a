import { existsSync, globSync } from 'node:fs'
import { mkdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { boxPaths } from '../state-directory.ts'

/** Home of the user `postgres` in Debian's package. The box mounts its own directory over it. */
const home = '/var/lib/postgresql'

/** The data directory, by the path inside the box's mount namespace. */
export const POSTGRES_DATA = join(home, 'data')

/** Directory of the automated backups, by the path inside the box's mount namespace. */
export const POSTGRES_BACKUPS = join(home, 'backups')

/** Default socket directory of Debian's PostgreSQL clients. */
export const POSTGRES_SOCKETS = '/run/postgresql'

/** Link to the programs of the PostgreSQL version that created the database. */
export const POSTGRES_PROGRAMS = join(POSTGRES_SOCKETS, 'bin')

/** Command prefix that switches to the user `postgres`, because PostgreSQL refuses to run as root. */
export const asPostgres = ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups'] as const

/**
 * Mounts the data directory and initialises the database if it is new. Runs inside the box's namespaces. The mount
 * lets the user `postgres` reach its files even if it may not enter the parents of the state directory.
 *
 * @throws ActionableError when no installed PostgreSQL can serve the database.
 */
export async function preparePostgres(config: BoxConfig): Promise<void> {
  const files = join(boxPaths(config).data, 'postgres')
  await mkdir(files, { recursive: true })
  await execa('mount', ['--bind', files, home])
  await makeDirectory(POSTGRES_SOCKETS)
  const version = existsSync(join(POSTGRES_DATA, 'PG_VERSION'))
    ? (await readFile(join(POSTGRES_DATA, 'PG_VERSION'), 'utf8')).trim()
    : undefined
  await symlink(findPrograms(version), POSTGRES_PROGRAMS)
  if (version === undefined) await initialize()
}

/** Initialises the data directory under a temporary name, so that an interrupted attempt leaves nothing behind. */
async function initialize(): Promise<void> {
  const attempt = `${POSTGRES_DATA}.new`
  await rm(attempt, { recursive: true, force: true })
  await makeDirectory(attempt)
  // UTF-8 as on RDS, and sorted by code point whatever the machine's locale is.
  const options = ['--encoding=UTF8', '--locale=C.UTF-8', '--auth=reject']
  const [program, ...args] = [...asPostgres, join(POSTGRES_PROGRAMS, 'initdb'), '-D', attempt, ...options]
  await execa(program, args, { cwd: home })
  await rename(attempt, POSTGRES_DATA)
}

async function makeDirectory(path: string): Promise<void> {
  await execa('install', ['--directory', '--owner=postgres', '--group=postgres', '--mode=0700', path])
}

/**
 * Finds the directory of PostgreSQL's programs, as Debian installs them.
 *
 * @param version major version that created the database; undefined selects the newest installed one.
 * @throws ActionableError when that version is not installed.
 */
export function findPrograms(version: string | undefined, root = '/usr/lib/postgresql'): string {
  const found = globSync(join(root, '*', 'bin', 'postgres'))
    .map((program) => dirname(program))
    .sort((a, b) => major(b) - major(a))
  const chosen = version === undefined ? found[0] : found.find((path) => major(path) === Number(version))
  if (chosen !== undefined) return chosen
  if (version === undefined) {
    throw new ActionableError('PostgreSQL is not installed', 'run `make up`, which installs it')
  }
  throw new ActionableError(
    `the box's database was created by PostgreSQL ${version}, which is no longer installed`,
    `install postgresql-${version}, or replace the database with an empty one: \`make down\`, then \`make up\``,
  )
}

/** The version in `<root>/<version>/bin`. */
function major(directory: string): number {
  return Number(basename(dirname(directory)))
}
