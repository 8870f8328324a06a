import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { execa } from 'execa'
import { ActionableError } from 'shared/errors'

/** Where the stacks' registry modules come from. */
export type ModuleSource =
  | { kind: 'registry' }
  | { kind: 'mirror'; directory: string }
  | { kind: 'stand-ins'; directory: string }

/** The registry of module sources without a host, as in our stacks. */
const registry = 'registry.terraform.io'

/** After this time without an answer the registry counts as unreachable. In milliseconds. */
const registryTimeout = 5000

/** Whether this machine can reach the Terraform registry. */
export async function canReachRegistry(): Promise<boolean> {
  try {
    const answer = await fetch(`https://${registry}/.well-known/terraform.json`, {
      signal: AbortSignal.timeout(registryTimeout),
    })
    return answer.ok
  } catch {
    return false
  }
}

/**
 * Decides where modules come from: the mirror (`TERRAFORM_MODULE_MIRROR`, a directory with
 * `<namespace>/<name>/<provider>/<version>/`), else the registry. Without either, the box uses the stand-ins. Only the
 * box probes the registry: for AWS there is no fallback, and `terraform init` needs no registry once the modules are
 * installed.
 *
 * @throws ActionableError when the mirror is not a directory.
 */
export async function chooseModules(choice: {
  mirror: string | undefined
  standIns: string
  isLocal: boolean
  canReachRegistry: () => Promise<boolean>
}): Promise<ModuleSource> {
  if (choice.mirror) {
    if (existsSync(choice.mirror)) return { kind: 'mirror', directory: choice.mirror }
    throw new ActionableError(
      `TERRAFORM_MODULE_MIRROR is "${choice.mirror}", but there is no such directory`,
      'set it to a directory that contains <namespace>/<name>/<provider>/<version>/',
    )
  }
  if (!choice.isLocal || (await choice.canReachRegistry())) return { kind: 'registry' }
  return { kind: 'stand-ins', directory: choice.standIns }
}

/** A module call as terraform-config-inspect reports it. */
interface ModuleCall {
  name: string
  source: string
  version?: string
}

interface ManifestEntry {
  Key: string
  Source: string
  Version?: string
  Dir: string
}

/**
 * Writes the manifest that `terraform init` writes after downloading modules, but for modules in a local directory.
 * Init then takes them for installed.
 *
 * @param stack - directory of the stack
 * @param dataDirectory - the stack's Terraform data directory
 * @param inspect - path of terraform-config-inspect
 * @throws ActionableError when the mirror or the stand-ins lack a module.
 */
export async function writeManifest(
  stack: string,
  dataDirectory: string,
  source: Exclude<ModuleSource, { kind: 'registry' }>,
  inspect: string,
): Promise<void> {
  const entries: ManifestEntry[] = [{ Key: '', Source: '', Dir: '.' }]
  const visit = async (directory: string, path: string[]): Promise<void> => {
    for (const call of await moduleCalls(directory, inspect)) {
      const key = [...path, call.name]
      const local = call.source.startsWith('.')
      const found = local ? join(directory, call.source) : locate(call, source)
      entries.push({
        Key: key.join('.'),
        Source: local ? call.source : `${registry}/${call.source}`,
        ...(call.version === undefined ? {} : { Version: call.version }),
        Dir: relative(stack, found),
      })
      await visit(found, key)
    }
  }
  await visit(stack, [])
  await mkdir(join(dataDirectory, 'modules'), { recursive: true })
  await writeFile(join(dataDirectory, 'modules', 'modules.json'), JSON.stringify({ Modules: entries }))
}

async function moduleCalls(directory: string, inspect: string): Promise<ModuleCall[]> {
  const { stdout } = await execa(inspect, ['--json', directory])
  const { module_calls: calls = {} } = JSON.parse(stdout) as {
    module_calls?: Record<string, ModuleCall>
  }
  return Object.values(calls)
}

function locate(call: ModuleCall, source: Exclude<ModuleSource, { kind: 'registry' }>): string {
  const [address = '', below = ''] = call.source.split('//')
  const [namespace = '', name = '', provider = ''] = address.split('/')
  const directory =
    source.kind === 'mirror'
      ? join(source.directory, namespace, name, provider, call.version ?? '', below)
      : join(source.directory, name, below)
  if (existsSync(directory)) return directory
  throw new ActionableError(
    `${source.kind === 'mirror' ? 'the module mirror lacks' : 'there is no stand-in for'} ${call.source} ${call.version ?? ''}: ${directory} does not exist`,
    source.kind === 'mirror'
      ? 'add the module to the mirror, or unset TERRAFORM_MODULE_MIRROR'
      : 'add one to infrastructure-hcl/tests/stand-ins, or set TERRAFORM_MODULE_MIRROR',
  )
}
