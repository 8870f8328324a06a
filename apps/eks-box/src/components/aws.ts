import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { awsPythonPath } from 'shared/tools'
import { PORTS } from '../cluster.ts'
import type { Component } from './component.ts'

/** Starts the emulator. */
export function motoCommand(config: BoxConfig): readonly [string, ...string[]] {
  return [awsPythonPath(config), join(import.meta.dirname, '..', 'aws', 'moto_server.py')]
}

/** The AWS emulator. It keeps its state in memory only; the `aws` component in front of it makes it durable. */
export function moto(config: BoxConfig): Component {
  return {
    name: 'moto',
    dependsOn: [],
    command: [...motoCommand(config), '--host', '127.0.0.1', '--port', String(PORTS.moto)],
    environment: {
      // moto leaves AWS managed policies out by default to start faster, but node roles and operators attach them.
      MOTO_IAM_LOAD_MANAGED_POLICIES: 'true',
      // The account is restored by repeating its changes, so no result may depend on Python's random hashes.
      PYTHONHASHSEED: '0',
      // No web page may call the emulated AWS.
      MOTO_DISABLE_GLOBAL_CORS: 'true',
    },
    files: {},
    // A request to the account would draw random numbers and so change the identifiers of later resources.
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.moto}/moto-api/` },
    diagnoses: [],
  }
}

/** The box's only AWS endpoint: serves the EKS API itself and forwards everything else to the journaled emulator. */
export function aws(_config: BoxConfig): Component {
  return {
    name: 'aws',
    dependsOn: ['moto', 'postgres', 'redis'],
    command: [process.execPath, join(import.meta.dirname, '..', 'aws', 'main.ts')],
    files: {},
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.eksWebhooks}/healthz` },
    diagnoses: [
      {
        pattern: /the emulator refused \S+, which it accepted before/,
        cause:
          'the emulated AWS cannot be restored: its journal was written with another version of the emulator',
        nextStep: 'run `make down`, then `make up`, to start with a new account',
      },
    ],
  }
}
