import { existsSync, globSync } from 'node:fs'
import { mkdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { boxPaths } from '../state-directory.ts'

/** Home of the user `postgres`, which Debian's package makes; the box mounts its own directory over it. */
const home = '/var/lib/postgresql'

/** The database's files, as its server sees them. */
export const POSTGRES_DATA = join(home, 'data')

/** Where clients look for a server of their own machine when nobody tells them otherwise. */
export const POSTGRES_SOCKETS = '/run/postgresql'

/** Leads to the programs of the version that made the database. */
export const POSTGRES_PROGRAMS = join(POSTGRES_SOCKETS, 'bin')

/** Runs the command that follows as the user `postgres`: PostgreSQL refuses to run as root. */
export const asPostgres = ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups'] as const

/**
 * Makes the database's files unless they are there. Runs inside the box's namespaces, where its files are
 * mounted on a path that leads the user `postgres` past whatever the state directory lies in.
 *
 * @throws ActionableError when no PostgreSQL is installed that can serve them.
 */
export async function preparePostgres(config: BoxConfig): Promise<void> {
  const files = join(boxPaths(config).data, 'postgres')
  await mkdir(files, { recursive: true })
  await execa('mount', ['--bind', files, home])
  await makeDirectory(POSTGRES_SOCKETS)
  const made = existsSync(join(POSTGRES_DATA, 'PG_VERSION'))
    ? (await readFile(join(POSTGRES_DATA, 'PG_VERSION'), 'utf8')).trim()
    : undefined
  await symlink(findPrograms(made), POSTGRES_PROGRAMS)
  if (made === undefined) await initialize()
}

/** Makes them under another name first: of an attempt that was interrupted nothing is taken over. */
async function initialize(): Promise<void> {
  const attempt = `${POSTGRES_DATA}.new`
  await rm(attempt, { recursive: true, force: true })
  await makeDirectory(attempt)
  // Sorted by code point in any locale that the machine may have, texts in UTF-8 as on RDS.
  const options = ['--encoding=UTF8', '--locale=C.UTF-8', '--auth=reject']
  const [program, ...args] = [...asPostgres, join(POSTGRES_PROGRAMS, 'initdb'), '-D', attempt, ...options]
  await execa(program, args, { cwd: home })
  await rename(attempt, POSTGRES_DATA)
}

async function makeDirectory(path: string): Promise<void> {
  await execa('install', ['--directory', '--owner=postgres', '--group=postgres', '--mode=0700', path])
}

/**
 * Where the programs of a version of PostgreSQL are, as Debian installs them.
 *
 * @param version major version that made a database; undefined for the newest there is.
 * @throws ActionableError when it is not installed.
 */
export function findPrograms(version: string | undefined, root = '/usr/lib/postgresql'): string {
  const found = globSync(join(root, '*', 'bin', 'postgres'))
    .map((program) => dirname(program))
    .sort((a, b) => major(b) - major(a))
  const chosen = version === undefined ? found[0] : found.find((path) => major(path) === Number(version))
  if (chosen !== undefined) return chosen
  if (version === undefined) {
    throw new ActionableError('this machine has no PostgreSQL', 'run `make up`, which installs it')
  }
  throw new ActionableError(
    `the box's database was made by PostgreSQL ${version}, which is no longer installed`,
    `install postgresql-${version}, or begin anew with \`make down\` and \`make up\``,
  )
}

/** The version in `<root>/<version>/bin`. */
function major(directory: string): number {
  return Number(basename(dirname(directory)))
}
