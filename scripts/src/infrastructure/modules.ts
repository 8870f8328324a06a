import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { execa } from 'execa'
import { ActionableError } from 'shared/errors'

/** Where the modules of the Terraform registry come from. */
export type ModuleSource =
  | { kind: 'registry' }
  | { kind: 'mirror'; directory: string }
  | { kind: 'stand-ins'; directory: string }

/** The one registry our stacks name no host of. */
const registry = 'registry.terraform.io'

/** How long the registry may take to answer before it counts as out of reach, in milliseconds. */
const registryTimeout = 5000

/** Whether this machine reaches the Terraform registry. */
export async function reachesRegistry(): Promise<boolean> {
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
 * Decides where modules come from: the mirror that `TERRAFORM_MODULE_MIRROR` names, a directory with
 * `<namespace>/<name>/<provider>/<version>/`; otherwise the registry. The box alone falls back to the stand-ins, so
 * only the box asks first whether the registry answers: for AWS, `terraform init` finds out by itself, and has no need
 * to when the modules are installed already.
 *
 * @throws ActionableError when the mirror is not a directory.
 */
export async function chooseModules(choice: {
  mirror: string | undefined
  standIns: string
  isLocal: boolean
  registryAnswers: () => Promise<boolean>
}): Promise<ModuleSource> {
  if (choice.mirror) {
    if (existsSync(choice.mirror)) return { kind: 'mirror', directory: choice.mirror }
    throw new ActionableError(
      `TERRAFORM_MODULE_MIRROR is "${choice.mirror}", which is no directory`,
      'name a directory with <namespace>/<name>/<provider>/<version>/ below it',
    )
  }
  if (!choice.isLocal || (await choice.registryAnswers())) return { kind: 'registry' }
  return { kind: 'stand-ins', directory: choice.standIns }
}

/** A module call as terraform-config-inspect tells of it. */
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
 * Writes the manifest that `terraform init` would write after downloading, for modules that are on this machine
 * already; init then asks no registry for them.
 *
 * @param stack directory of the stack.
 * @param dataDirectory Terraform's data directory of the stack.
 * @param inspect program that reads a module's calls.
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
    `${source.kind === 'mirror' ? 'the module mirror lacks' : 'there is no stand-in for'} ${call.source} ${call.version ?? ''}: ${directory} is not there`,
    source.kind === 'mirror'
      ? 'add the module to the mirror, or unset TERRAFORM_MODULE_MIRROR'
      : 'add one to infrastructure-hcl/tests/stand-ins, or set TERRAFORM_MODULE_MIRROR',
  )
}
