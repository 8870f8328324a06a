import { existsSync } from 'node:fs'
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { asPostgres } from '../preparation/postgres-data.ts'
import { PostgresServer, type PostgresServerOptions, RULES_FILE } from './postgres-server.ts'

/** The automated backup of an instance: a copy of its files, and the log of all later changes. */
export interface Backup {
  /** The instance's resource id, which no other instance ever has. */
  resourceId: string
  /** The earliest time that can be restored. */
  from: string
  /** When the instance was deleted; undefined while it exists. */
  until?: string
  /** What the instance was, when it was deleted. */
  instance?: Readonly<Record<string, string>>
}

export interface BackupsOptions {
  /** Of the server that is backed up. */
  server: PostgresServerOptions
  /** A directory that the user `postgres` can enter. */
  directory: string
}

/** Directory of the present instance's backup. */
const CURRENT = 'current'

/** Settings with which the server copies its log to the backup of the instance, if there is one. */
export function archiveSettings(directory: string): string {
  const log = join(directory, CURRENT, 'wal')
  // A segment appears under its name when it is complete.
  const copy = `cp %p ${log}/%f.new && mv ${log}/%f.new ${log}/%f`
  return `archive_mode = on\narchive_command = 'test ! -d ${log} || (${copy})'\n`
}

/** The automated backups of the box's PostgreSQL. Unlike those of RDS, they are kept until somebody deletes them. */
export class Backups {
  readonly #options: BackupsOptions

  constructor(options: BackupsOptions) {
    this.#options = options
  }

  /** Begins the backup of an instance, unless it has one. */
  async begin(resourceId: string): Promise<void> {
    const [present] = await this.#read(CURRENT)
    if (present?.resourceId === resourceId) return
    await this.discard()
    const { directory, server } = this.#options
    await makeDirectory(directory)
    await makeDirectory(this.#path(CURRENT))
    await makeDirectory(this.#path(CURRENT, 'wal'))
    const [setUser, ...options] = asPostgres
    await execa(
      setUser,
      [
        ...[...options, join(server.programs, 'pg_basebackup'), `--host=${server.sockets}`],
        ...['--username=postgres', '--checkpoint=fast', `--pgdata=${this.#path(CURRENT, 'base')}`],
      ],
      { cwd: directory },
    )
    // Written last: without it, the backup is not complete.
    await this.#write(CURRENT, { resourceId, from: new Date().toISOString() })
  }

  /** Ends the backup of the present instance before its deletion, and keeps it. */
  async retain(instance: Readonly<Record<string, string>>): Promise<void> {
    const [present] = await this.#read(CURRENT)
    if (present === undefined) return
    const until = new Date().toISOString()
    const segment = await new PostgresServer(this.#options.server).completeLog()
    const deadline = Date.now() + this.#options.server.restartTimeout
    while (!existsSync(this.#path(CURRENT, 'wal', segment))) {
      if (Date.now() > deadline) throw new Error(`PostgreSQL did not archive ${segment} in time`)
      await sleep(100)
    }
    await this.#write(CURRENT, { ...present, until, instance })
    await rename(this.#path(CURRENT), this.#path(present.resourceId))
  }

  /** Deletes the backup of the present instance. */
  async discard(): Promise<void> {
    await rm(this.#path(CURRENT), { recursive: true, force: true })
  }

  /** Deletes the backup of a deleted instance. */
  async delete({ resourceId }: Backup): Promise<void> {
    await rm(this.#path(resourceId), { recursive: true, force: true })
  }

  /** The backups of the present instance and of deleted ones. */
  async list(): Promise<Backup[]> {
    if (!existsSync(this.#options.directory)) return []
    const names = await readdir(this.#options.directory)
    return (await Promise.all(names.map((name) => this.#read(name)))).flat()
  }

  /**
   * Writes the roles and databases of a deleted instance, as they were at a time, to a new directory, from which
   * {@link PostgresServer.load} reads them. A second server replays the log for that.
   *
   * @param time in UTC, such as 2026-11-22T21:00:00Z; the end of the log if it is undefined
   */
  async recover({ resourceId }: Backup, time: string | undefined, target: string): Promise<void> {
    const { server } = this.#options
    const data = this.#path('recovering')
    await rm(data, { recursive: true, force: true })
    await execa('cp', ['--archive', this.#path(resourceId, 'base'), data])
    await writeFile(join(data, 'recovery.signal'), '')
    const settings = {
      restore_command: `cp ${this.#path(resourceId, 'wal')}/%f %p`,
      // When PostgreSQL reads its settings, it does not know abbreviations of time zones yet, such as Z.
      ...(time === undefined ? {} : { recovery_target_time: time.replace('Z', '+00') }),
      recovery_target_action: 'promote',
      archive_mode: 'off',
      hba_file: join(data, RULES_FILE),
      listen_addresses: '',
      ssl: 'off',
      unix_socket_directories: data,
    }
    const [setUser, ...options] = asPostgres
    const running = execa(
      setUser,
      [
        ...[...options, join(server.programs, 'postgres'), '-D', data],
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      { cwd: data, reject: false, all: true },
    )
    let end: string | undefined
    void running.then(({ all }) => {
      end = all
    })
    try {
      const recovered = new PostgresServer({ ...server, data, sockets: data })
      while (!(await recovered.isPrimary())) {
        if (end !== undefined) throw new Error(`the log could not be replayed: ${end.slice(-500)}`)
        await sleep(100)
      }
      await recovered.dump(target)
    } finally {
      running.kill('SIGINT')
      await running
      await rm(data, { recursive: true, force: true })
    }
  }

  async #read(name: string): Promise<Backup[]> {
    const file = this.#path(name, 'backup.json')
    return existsSync(file) ? [JSON.parse(await readFile(file, 'utf8')) as Backup] : []
  }

  async #write(name: string, backup: Backup): Promise<void> {
    const file = this.#path(name, 'backup.json')
    await writeFile(`${file}.new`, JSON.stringify(backup))
    await rename(`${file}.new`, file)
  }

  #path(...parts: string[]): string {
    return join(this.#options.directory, ...parts)
  }
}

async function makeDirectory(path: string): Promise<void> {
  await execa('install', ['--directory', '--owner=postgres', '--group=postgres', '--mode=0700', path])
}
