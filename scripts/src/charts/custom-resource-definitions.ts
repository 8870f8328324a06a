import { join } from 'node:path'
import { type ExecaError, execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError } from 'shared/errors'

/** The Go module whose go.mod and go.sum pin where the definitions come from. */
const PINS = join(REPOSITORY_ROOT, 'apps', 'eks-box', 'tools', 'custom-resource-definitions')

/** The definitions of all custom kinds in our charts, by the Go module that publishes them. */
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
 * The CustomResourceDefinitions of the kinds in our charts, downloaded into Go's module cache unless they are there.
 * Nothing is compiled.
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
    // One JSON object after the other.
    return JSON.parse(`[${stdout.replaceAll(/^\}\n\{$/gm, '},{')}]`)
  } catch (cause) {
    const { code, stderr, stdout } = cause as ExecaError
    throw code === 'ENOENT'
      ? new ActionableError(
          'the Go toolchain is not installed, so the definitions of custom kinds cannot be downloaded',
          'Install Go, `make doctor` says which version.',
          { cause },
        )
      : new ActionableError(
          `the definitions of custom kinds cannot be downloaded: ${[stderr, stdout].join('\n').trim()}`,
          'Set GOPROXY to a Go module proxy this machine can reach.',
          { cause },
        )
  }
}
