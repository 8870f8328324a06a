import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import { boxPaths } from '../state-directory.ts'

/** A kubectl command that runs as the cluster's administrator. */
export function kubectl(config: BoxConfig, ...args: string[]): readonly [string, ...string[]] {
  const kubeconfig = join(boxPaths(config).kubeconfigs, 'admin.conf')
  return [programPath(config, 'kubectl'), '--kubeconfig', kubeconfig, ...args]
}
