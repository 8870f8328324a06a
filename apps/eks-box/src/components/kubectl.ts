import { join } from 'node:path'
import { boxPaths } from '../component.ts'
import type { BoxConfig } from '../config.ts'
import { programPath } from '../tools.ts'

/** A kubectl command with the rights of the cluster's administrator. */
export function kubectl(config: BoxConfig, ...args: string[]): readonly [string, ...string[]] {
  const kubeconfig = join(boxPaths(config).kubeconfigs, 'admin.conf')
  return [programPath(config, 'kubectl'), '--kubeconfig', kubeconfig, ...args]
}
