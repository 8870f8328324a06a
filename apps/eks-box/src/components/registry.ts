import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import { stringify } from 'yaml'
import { PORTS } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'
import type { Component } from './component.ts'

/** The OCI registry, in place of ECR and ECR Public. Images survive a restart. */
export function registry(config: BoxConfig): Component {
  const paths = boxPaths(config)
  const file = join(paths.config, 'registry.yaml')
  return {
    name: 'registry',
    dependsOn: [],
    command: [programPath(config, 'registry'), 'serve', file],
    // Without this, the registry also logs every request as a trace, although the access log is disabled.
    environment: { OTEL_TRACES_EXPORTER: 'none' },
    files: {
      [file]: stringify({
        version: '0.1',
        log: { level: 'warn', accesslog: { disabled: true } },
        storage: { filesystem: { rootdirectory: join(paths.data, 'registry') }, delete: { enabled: true } },
        // The nodes pull from it. The router keeps pods away from it.
        http: { addr: `:${PORTS.registry}` },
      }),
    },
    probe: { kind: 'http', url: `http://127.0.0.1:${PORTS.registry}/v2/` },
    diagnoses: [],
  }
}
