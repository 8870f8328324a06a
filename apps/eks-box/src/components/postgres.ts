import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { PORTS } from '../cluster.ts'
import { archiveSettings } from '../databases/backups.ts'
import { RULES_FILE } from '../databases/postgres-server.ts'
import {
  asPostgres,
  POSTGRES_BACKUPS,
  POSTGRES_DATA,
  POSTGRES_PROGRAMS,
  POSTGRES_SOCKETS,
} from '../preparation/postgres-data.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/**
 * The service's database, in place of RDS. Committed data survives a crash of its process. The component `aws` makes it
 * the instance of the emulated account, and writes the rules for its clients.
 */
export function postgres(config: BoxConfig): Component {
  const paths = boxPaths(config)
  // The server sees this directory as POSTGRES_DATA.
  const inData = (file: string) => join(paths.data, 'postgres', 'data', file)
  const client = (program: string) =>
    [join(POSTGRES_PROGRAMS, program), `--host=${POSTGRES_SOCKETS}`, '--username=postgres'] as const
  return {
    name: 'postgres',
    dependsOn: [],
    command: [...asPostgres, join(POSTGRES_PROGRAMS, 'postgres'), '-D', POSTGRES_DATA],
    files: {
      [inData('postgresql.conf')]: `listen_addresses = '*'
port = ${PORTS.postgres}
unix_socket_directories = '${POSTGRES_SOCKETS}'
cluster_name = 'eks-box-${config.name}'
hba_file = '${POSTGRES_DATA}/${RULES_FILE}'
ssl = on
${archiveSettings(POSTGRES_BACKUPS)}`,
    },
    probe: { kind: 'command', command: client('pg_isready') },
    // SIGINT rolls back open transactions and exits; SIGTERM would wait until every client disconnects.
    stopSignal: 'SIGINT',
    diagnoses: [
      {
        pattern: /could not (write|extend|create) .*No space left on device/,
        cause: 'the database cannot write: the disk of the state directory is full',
        nextStep: 'free disk space, then `make up` again',
      },
      {
        pattern: /PANIC: {2}could not locate a valid checkpoint record|invalid (primary )?checkpoint record/,
        cause:
          "the database's files are corrupt, for example after a power failure on a disk that does not flush its cache",
        nextStep: 'run `make down` to remove the box with its data, then `make up` to create a new one',
      },
    ],
  }
}
