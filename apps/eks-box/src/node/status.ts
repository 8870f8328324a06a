import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import type { ComponentStatus } from '../lifecycle/status.ts'

export interface NodeStatus {
  name: string
  instanceId: string
  instanceType: string
  zone: string
  address: string
  /** The IPv4 block of its pods; undefined if it is refused. */
  podSubnet?: string
  /** `refused`: the instance does not become a node. */
  state: 'starting' | 'ready' | 'degraded' | 'stopping' | 'refused'
  components: ComponentStatus[]
  /** Why it is not ready, in one line. */
  message?: string
}

function statusPath(config: BoxConfig): string {
  return join(config.stateDir, 'nodes.json')
}

/** The nodes of the box, as the `nodes` component last reported them. */
export async function readNodes(config: BoxConfig): Promise<NodeStatus[]> {
  try {
    return JSON.parse(await readFile(statusPath(config), 'utf8')) as NodeStatus[]
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}

/** Replaces the report atomically, so that readers never see a part of it. */
export async function writeNodes(config: BoxConfig, nodes: readonly NodeStatus[]): Promise<void> {
  const path = statusPath(config)
  await writeFile(`${path}.new`, `${JSON.stringify(nodes, null, 2)}\n`)
  await rename(`${path}.new`, path)
}
