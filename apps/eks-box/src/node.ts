import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { NODE_IP, SERVICE_CIDR } from './cluster.ts'
import { boxPaths } from './component.ts'
import type { BoxConfig } from './config.ts'

/**
 * Makes this process's own mount and network namespaces into a node: private run-time directories,
 * the node's address, and a way to Service addresses. Runs inside the namespaces, so nothing of it
 * exists for the rest of the machine.
 */
export async function prepareNode(config: BoxConfig): Promise<void> {
  const paths = boxPaths(config)
  // Sockets, pod network names and addresses of a former life mean nothing after a restart.
  await rm(paths.run, { recursive: true, force: true })
  const varLog = join(paths.logs, 'var-log')
  const varLibCni = join(paths.run, 'cni')
  for (const directory of [paths.run, paths.data, paths.config, paths.logs, varLog, varLibCni]) {
    await mkdir(directory, { recursive: true })
  }
  await execa('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'eks-box', '/run'])
  // The machine's would keep the shared memory of a database that was killed.
  await execa('mount', ['-t', 'tmpfs', '-o', 'mode=1777', 'eks-box', '/dev/shm'])
  await execa('mount', ['--bind', varLog, '/var/log'])
  await execa('mount', ['--bind', varLibCni, CNI_STATE])

  await execa('ip', ['link', 'set', 'lo', 'up'])
  await execa('ip', ['address', 'add', `${NODE_IP}/32`, 'dev', 'lo'])
  // A host process looks up a route before kube-proxy's rules see its packet.
  await execa('ip', ['route', 'add', SERVICE_CIDR, 'dev', 'lo', 'src', NODE_IP])
  await writeFile('/proc/sys/net/ipv4/ip_forward', '1')
}

/** Where CNI keeps results, whatever it is told; the box mounts its own directory over it. */
export const CNI_STATE = '/var/lib/cni'
