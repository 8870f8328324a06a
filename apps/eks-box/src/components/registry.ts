import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { stringify } from 'yaml'
import { PORTS } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'
import { programPath } from '../tools.ts'
import type { Component } from './component.ts'

/** The OCI registry that stands where ECR stands on AWS; images survive a restart. */
export function registry(config: BoxConfig): Component {
  const paths = boxPaths(config)
  const file = join(paths.config, 'registry.yaml')
  return {
    name: 'registry',
    after: [],
    command: [programPath(config, 'registry'), 'serve', file],
    // Otherwise its access log also goes out in a format of its own.
    environment: { OTEL_TRACES_EXPORTER: 'none' },
    files: {
      [file]: stringify({
        version: '0.1',
        log: { level: 'warn', accesslog: { disabled: true } },
        storage: { filesystem: { rootdirectory: join(paths.data, 'registry') }, delete: { enabled: true } },
        http: { addr: `127.0.0.1:${PORTS.registry}` },
      }),
    },
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.registry}/v2/` },
    diagnoses: [],
  }
}
