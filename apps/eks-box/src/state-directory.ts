import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'

/** Directories of the components' configuration and data, all below the box's state directory. */
export interface BoxPaths {
  pki: string
  kubeconfigs: string
  config: string
  data: string
  run: string
  logs: string
  /** HOME of the box's programs, so that their caches do not go to the caller's. */
  home: string
  /** Passwords of the database and the cache, readable by root only. */
  credentials: string
}

export function boxPaths(config: BoxConfig): BoxPaths {
  const below = (name: string) => join(config.stateDir, name)
  return {
    pki: below('pki'),
    kubeconfigs: below('kubeconfigs'),
    config: below('config'),
    data: below('data'),
    run: below('run'),
    logs: below('logs'),
    home: below('run/home'),
    credentials: below('credentials'),
  }
}

/** Directories and files of one node. Its sockets are in its own /run. */
export interface NodePaths {
  data: string
  config: string
  kubeconfig: string
  logs: string
  varLog: string
  kubelet: string
}

export function nodePaths(config: BoxConfig, node: { instanceId: string; name: string }): NodePaths {
  const paths = boxPaths(config)
  const data = join(paths.data, 'nodes', node.instanceId)
  const [host = node.name] = node.name.split('.')
  const logs = join(paths.logs, 'nodes', host)
  return {
    data,
    config: join(data, 'config'),
    kubeconfig: join(data, 'config', 'kubelet.kubeconfig'),
    logs,
    varLog: join(logs, 'var-log'),
    kubelet: join(data, 'kubelet'),
  }
}
