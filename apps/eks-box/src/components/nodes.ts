import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { PORTS } from '../cluster.ts'
import type { Component } from './component.ts'

/** Makes each instance of the emulated EC2 that belongs to the cluster a node. */
export function nodes(_config: BoxConfig): Component {
  return {
    name: 'nodes',
    dependsOn: ['aws', 'kube-apiserver', 'registry'],
    command: [process.execPath, join(import.meta.dirname, '..', 'node', 'main.ts')],
    files: {},
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.nodes}/healthz` },
    diagnoses: [],
  }
}
