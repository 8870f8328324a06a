/**
 * Holds the Terraform stacks against their own tests, format, lint and security rules. Each stack is tested in a
 * copy: what init writes never reaches the repository. No AWS is asked.
 */
import { existsSync } from 'node:fs'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { builtProgram } from 'eks-box/tools'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { reachesRegistry, writeManifest } from '../infrastructure/modules.ts'
import { mirrorConfig, providerMirror, STACKS, type StackName } from '../infrastructure/terraform.ts'

const root = join(REPOSITORY_ROOT, 'infrastructure-hcl')
const box = readBoxConfig(process.env)

/** Providers of HashiCorp a stack needs; where neither registry nor mirror has one, its tests cannot run. */
const providers: Record<StackName, readonly string[]> = {
  bootstrap: ['aws'],
  cluster: ['aws'],
  platform: ['helm'],
}

async function checked(program: string, args: string[], cwd: string, env = {}): Promise<void> {
  const { failed, shortMessage } = await execa(program, args, { cwd, env, stdio: 'inherit', reject: false })
  if (failed) throw new ActionableError(shortMessage ?? `${program} failed`, 'mend what is named above')
}

async function testStack(name: StackName, work: string, registryAnswers: boolean): Promise<void> {
  const mirror = registryAnswers ? undefined : providerMirror()
  const missing = providers[name].filter(
    (provider) =>
      !registryAnswers &&
      (mirror === undefined || !existsSync(join(mirror, 'registry.terraform.io', 'hashicorp', provider))),
  )
  if (missing.length > 0) {
    console.log(
      `${name}: SKIPPED validate and test: neither the registry nor a mirror has the provider ${missing.join(', ')} (TERRAFORM_PROVIDER_MIRROR names one)`,
    )
    return
  }
  const stack = join(work, 'infrastructure-hcl', name)
  const data = join(stack, '.terraform')
  const env: Record<string, string> = { TF_DATA_DIR: data, TF_INPUT: 'false', CHECKPOINT_DISABLE: 'true' }
  if (mirror !== undefined) {
    env['TF_CLI_CONFIG_FILE'] = join(work, 'mirror.tfrc')
    await writeFile(env['TF_CLI_CONFIG_FILE'], mirrorConfig(mirror))
  }
  if (!registryAnswers) {
    const standIns = {
      kind: 'stand-ins' as const,
      directory: join(work, 'infrastructure-hcl', 'tests', 'stand-ins'),
    }
    await writeManifest(stack, data, standIns, builtProgram(box, 'terraform-config-inspect'))
  }
  const { failed, all } = await execa('terraform', ['init', '-backend=false', '-no-color'], {
    cwd: stack,
    env,
    all: true,
    reject: false,
  })
  if (failed) throw new ActionableError(`${name} cannot be initialized: ${all}`, 'mend what Terraform names')
  await checked('terraform', ['validate', '-no-color'], stack, env)
  await checked('terraform', ['test', '-no-color'], stack, env)
}

async function check(): Promise<void> {
  await checked('terraform', ['fmt', '-check', '-recursive', '-diff'], root)
  for (const name of [...STACKS, 'tests/stand-ins/eks', 'tests/stand-ins/eks/modules/karpenter']) {
    await checked(
      builtProgram(box, 'tflint'),
      ['--chdir', name, '--config', join(root, '.tflint.hcl'), '--format', 'compact'],
      root,
    )
  }
  await checked(
    builtProgram(box, 'checkov'),
    [
      ...['--directory', '.', '--framework', 'terraform', '--compact', '--quiet', '--skip-download'],
      // They never go to AWS, and create less than the modules they stand for.
      ...['--skip-path', 'tests/stand-ins'],
    ],
    root,
  )
  const registryAnswers = await reachesRegistry()
  const work = await mkdtemp(join(tmpdir(), 'fastify-eks-terraform-'))
  try {
    for (const part of ['infrastructure-hcl', 'helm']) {
      await cp(join(REPOSITORY_ROOT, part), join(work, part), {
        recursive: true,
        filter: (path) => !path.includes('.terraform'),
      })
    }
    for (const name of STACKS) await testStack(name, work, registryAnswers)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

await new Command('check-terraform')
  .description('Formats, lints, validates and tests the stacks.')
  .action(check)
  .parseAsync()
  .catch(reportFailure)
