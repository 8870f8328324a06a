import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { boxPaths } from '../state-directory.ts'
import { programPath } from '../tools.ts'

/** A kubectl command with the rights of the cluster's administrator. */
export function kubectl(config: BoxConfig, ...args: string[]): readonly [string, ...string[]] {
  const kubeconfig = join(boxPaths(config).kubeconfigs, 'admin.conf')
  return [programPath(config, 'kubectl'), '--kubeconfig', kubeconfig, ...args]
}
