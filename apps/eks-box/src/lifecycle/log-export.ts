import { chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { execa } from 'execa'
import { type BoxConfig, kubeconfigPath } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { programPath } from 'shared/tools'
import { boxPaths } from '../state-directory.ts'
import { readStatus } from './status.ts'

/** The kubectl arguments that produce each file about the cluster. None of them prints Secrets. */
const clusterReports: Readonly<Record<string, readonly string[]>> = {
  'nodes.txt': ['describe', 'nodes'],
  'pods.txt': ['describe', 'pods', '--all-namespaces'],
  'events.txt': ['get', 'events', '--all-namespaces', '--sort-by=.lastTimestamp'],
  'workloads.txt': [
    'get',
    'all,horizontalpodautoscalers,poddisruptionbudgets,ingresses,networkpolicies,endpointslices',
    '--all-namespaces',
    '--output=wide',
  ],
}

/**
 * Writes an archive for troubleshooting: the logs of components and pods, the box's status and, while its API server
 * responds, nodes, pods, workloads and events.
 *
 * @param file path of the archive, a gzipped tar. Only its owner can read it, because pods may log anything.
 * @throws ActionableError when there is no box, or its logs cannot be read.
 */
export async function exportLogs(config: BoxConfig, file: string, env = process.env): Promise<void> {
  const status = await readStatus(config)
  const { logs } = boxPaths(config)
  const work = await mkdtemp(join(tmpdir(), 'eks-box-logs-'))
  try {
    const top = join(work, 'top')
    const cluster = join(top, 'cluster')
    await mkdir(cluster, { recursive: true })
    await writeFile(join(top, 'status.json'), JSON.stringify(status ?? null, null, 2))
    await Promise.all(
      Object.entries(clusterReports).map(async ([name, args]) => {
        const connection = ['--kubeconfig', kubeconfigPath(config), '--request-timeout=10s']
        const { all, shortMessage } = await execa(
          programPath(config, 'kubectl'),
          [...connection, ...args],
          // kubectl caches API discovery in its HOME.
          { all: true, reject: false, timeout: 60_000, env: { HOME: work } },
        )
        await writeFile(join(cluster, name), `${all ?? shortMessage}\n`)
      }),
    )
    // tar exits with 1 when a log grows while it is read.
    const { exitCode, all } = await execa(
      'tar',
      [
        ...['--create', '--gzip', '--file', join(work, 'archive')],
        ...['--directory', top, 'status.json', 'cluster'],
        ...['--directory', dirname(logs), relative(dirname(logs), logs)],
      ],
      { all: true, reject: false },
    )
    if (exitCode !== 0 && exitCode !== 1) {
      throw new ActionableError(
        `the logs of box ${config.name} cannot be read: ${all.split('\n')[0]}`,
        'run the command as root, and check with `make status` that there is a box',
      )
    }
    await execa('install', ['--mode=0600', join(work, 'archive'), file])
    const [uid, gid] = [Number(env['SUDO_UID']), Number(env['SUDO_GID'])]
    if (uid > 0 && gid >= 0) await chown(file, uid, gid)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}
