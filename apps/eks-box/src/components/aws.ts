import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { PORTS } from '../cluster.ts'
import { programPath } from '../tools.ts'
import type { Component } from './component.ts'

/** The AWS emulator. It forgets everything when it ends; `aws` in front of it does not. */
export function moto(config: BoxConfig): Component {
  return {
    name: 'moto',
    after: [],
    command: [programPath(config, 'moto_server'), '--host', '127.0.0.1', '--port', String(PORTS.moto)],
    environment: {
      // Off by default, for speed; node roles and operators attach them.
      MOTO_IAM_LOAD_MANAGED_POLICIES: 'true',
      // No page of a browser has any business here.
      MOTO_DISABLE_GLOBAL_CORS: 'true',
    },
    files: {},
    // Its start page: anything that looks into the account would draw random numbers, and with them identifiers.
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.moto}/moto-api/` },
    diagnoses: [],
  }
}

/** The one address of AWS in the box: the EKS API, and the emulator behind a journal for all else. */
export function aws(_config: BoxConfig): Component {
  return {
    name: 'aws',
    after: ['moto'],
    command: [process.execPath, join(import.meta.dirname, '..', 'aws', 'main.ts')],
    files: {},
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.eksWebhooks}/healthz` },
    diagnoses: [
      {
        pattern: /the emulator refused \S+, which it accepted before/,
        cause: "the emulated AWS cannot be restored from its journal, which another emulator's version wrote",
        nextStep: '`make down` then `make up` begins anew',
      },
    ],
  }
}
