import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * The buildah command with its storage and all other files below the directory `storage`.
 *
 * Unlike overlay, the storage driver vfs leaves no mounts behind, which would prevent the removal of the directory, and
 * works on any file system, including the overlay of a container.
 */
export function buildahCommand(storage: string): ['env', ...string[]] {
  mkdirSync(storage, { recursive: true })
  // By default, buildah creates /etc/cni/net.d, even if it needs no network.
  const configuration = join(storage, 'containers.conf')
  writeFileSync(configuration, `[network]\nnetwork_config_dir = ${JSON.stringify(join(storage, 'cni'))}\n`)
  return [
    ...(['env', `CONTAINERS_CONF=${configuration}`, 'buildah'] as const),
    ...['--root', join(storage, 'root'), '--runroot', join(storage, 'run'), '--storage-driver', 'vfs'],
  ]
}
