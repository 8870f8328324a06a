import { join } from 'node:path'
import { type ExecaError, execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'

/** The Go module that pins the versions and checksums of the modules below. */
const PINS = join(REPOSITORY_ROOT, 'apps', 'eks-box', 'tools', 'custom-resource-definitions')

/** The definitions of all custom kinds in our charts, by Go module. */
const DEFINITIONS: Readonly<Record<string, readonly string[]>> = {
  'github.com/prometheus-operator/prometheus-operator': [
    'example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml',
    'example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml',
  ],
  'github.com/external-secrets/external-secrets': [
    'config/crds/bases/external-secrets.io_externalsecrets.yaml',
  ],
  'sigs.k8s.io/gateway-api': ['config/crd/standard/gateway.networking.k8s.io_httproutes.yaml'],
  'github.com/aws/karpenter-provider-aws': [
    'pkg/apis/crds/karpenter.k8s.aws_ec2nodeclasses.yaml',
    'pkg/apis/crds/karpenter.sh_nodepools.yaml',
  ],
}

/**
 * Downloads the CustomResourceDefinitions of the kinds in our charts to Go's module cache. Nothing is compiled.
 *
 * @returns absolute paths of YAML files
 * @throws ActionableError when Go is missing or cannot download the modules
 */
export async function definitionFiles(): Promise<string[]> {
  const downloaded = await downloadModules()
  return downloaded.flatMap(({ Path, Dir }) => (DEFINITIONS[Path] ?? []).map((file) => join(Dir, file)))
}

async function downloadModules(): Promise<{ Path: string; Dir: string }[]> {
  try {
    const { stdout } = await execa('go', ['mod', 'download', '-json'], {
      cwd: PINS,
      env: { GOFLAGS: '-mod=readonly' },
    })
    // The output is a sequence of JSON objects.
    return JSON.parse(`[${stdout.replaceAll(/^\}\n\{$/gm, '},{')}]`)
  } catch (cause) {
    const { code, stderr, stdout } = cause as ExecaError
    throw code === 'ENOENT'
      ? new ActionableError(
          'downloading the definitions of custom kinds needs Go, which is not installed',
          'install Go; `make doctor` prints the required version',
          { cause },
        )
      : new ActionableError(
          `the definitions of custom kinds cannot be downloaded: ${[stderr, stdout].join('\n').trim()}`,
          'set GOPROXY to a Go module proxy that this machine can reach',
          { cause },
        )
  }
}
