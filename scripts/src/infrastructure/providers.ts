import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/**
 * A directory with providers: `TERRAFORM_PROVIDER_MIRROR`, or a mirror that is installed on this machine.
 *
 * @param named - the value of the variable
 */
export function providerMirror(named: string | undefined): string | undefined {
  const installed = ['/opt', '/usr/local/share/terraform', '/usr/share/terraform']
    .filter((directory) => existsSync(directory))
    .flatMap((directory) => readdirSync(directory).map((entry) => join(directory, entry)))
  return [...(named ? [named] : []), ...installed].find((directory) =>
    existsSync(join(directory, 'registry.terraform.io')),
  )
}

/** Whether a mirror contains one of HashiCorp's providers, such as `helm`. */
export function hasProvider(mirror: string | undefined, provider: string): boolean {
  return mirror !== undefined && existsSync(join(mirror, 'registry.terraform.io', 'hashicorp', provider))
}

/** CLI configuration with which Terraform prefers the mirror's providers and takes the others from the registry. */
export function mirrorConfig(mirror: string): string {
  const host = join(mirror, 'registry.terraform.io')
  const providers = readdirSync(host).flatMap((namespace) =>
    readdirSync(join(host, namespace)).map((type) => `registry.terraform.io/${namespace}/${type}`),
  )
  const list = JSON.stringify(providers)
  return `provider_installation {
  filesystem_mirror {
    path    = ${JSON.stringify(mirror)}
    include = ${list}
  }
  direct {
    exclude = ${list}
  }
}
`
}
