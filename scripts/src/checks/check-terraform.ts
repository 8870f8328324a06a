/**
 * Checks the Terraform stacks: format, lint, security rules, validation and their own tests. Each stack is tested in a
 * copy, so that init writes nothing to the repository. Nothing here needs AWS.
 */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { builtProgram } from 'shared/tools'
import { canReachRegistry, writeManifest } from '../infrastructure/modules.ts'
import { hasProvider, mirrorConfig, providerMirror } from '../infrastructure/providers.ts'
import { STACKS } from '../infrastructure/terraform.ts'

const root = join(REPOSITORY_ROOT, 'infrastructure-hcl')
const box = readBoxConfig(process.env)

/** The stacks and their modules that have tests of their own. */
const tested = [...STACKS, 'platform/releases', 'edge/web-acl'] as const
type Tested = (typeof tested)[number]

/** The providers of each. Without registry access and a mirror that has them, its tests are skipped. */
const providers: Record<Tested, readonly string[]> = {
  bootstrap: ['aws'],
  network: ['aws'],
  cluster: ['aws'],
  data: ['aws'],
  platform: ['helm'],
  alarms: ['aws'],
  'platform/releases': [],
  edge: ['aws'],
  'edge/web-acl': ['aws'],
}

async function checked(program: string, args: string[], cwd: string, env = {}): Promise<void> {
  const { failed, shortMessage } = await execa(program, args, { cwd, env, stdio: 'inherit', reject: false })
  if (failed) throw new ActionableError(shortMessage ?? `${program} failed`, 'fix the findings above')
}

async function testStack(name: Tested, work: string, registryAnswers: boolean): Promise<void> {
  const mirror = registryAnswers ? undefined : providerMirror(process.env['TERRAFORM_PROVIDER_MIRROR'])
  const missing = providers[name].filter((provider) => !registryAnswers && !hasProvider(mirror, provider))
  if (missing.length > 0) {
    console.log(
      `${name}: SKIPPED validate and test: the registry cannot be reached and no mirror has the provider ${missing.join(', ')} (set TERRAFORM_PROVIDER_MIRROR to one that does)`,
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
  const terraform = async (command: string, ...args: string[]): Promise<string> => {
    const { failed, all } = await execa('terraform', [command, ...args, '-no-color'], {
      cwd: stack,
      env,
      all: true,
      reject: false,
    })
    if (failed) {
      throw new ActionableError(`${name}: terraform ${command} failed:\n${all}`, 'fix what Terraform reports')
    }
    return all
  }
  await terraform('init', '-backend=false')
  const output = [await terraform('validate'), await terraform('test')]
  console.log([`${name}:`, ...output].join('\n'))
}

/** How many stacks are tested at the same time. Each one keeps about a core busy, and the smallest machine has two. */
const CONCURRENCY = 2

/** Tests all stacks, also after a failure: the other one still uses the directory. */
async function testStacks(work: string, registryAnswers: boolean): Promise<void> {
  const waiting = tested.values()
  const worker = async () => {
    for (const name of waiting) await testStack(name, work, registryAnswers)
  }
  const results = await Promise.allSettled(Array.from({ length: CONCURRENCY }, worker))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

async function check(): Promise<void> {
  await checked('terraform', ['fmt', '-check', '-recursive', '-diff'], root)
  for (const name of [
    ...tested,
    'tests/stand-ins/eks',
    'tests/stand-ins/eks/modules/karpenter',
    'tests/stand-ins/vpc',
  ]) {
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
      // The stand-ins are never applied to AWS, and lack settings of the real modules.
      ...['--skip-path', 'tests/stand-ins'],
    ],
    root,
  )
  const registryAnswers = await canReachRegistry()
  const work = await mkdtemp(join(tmpdir(), 'fastify-eks-terraform-'))
  try {
    for (const part of ['infrastructure-hcl', 'helm']) {
      await cp(join(REPOSITORY_ROOT, part), join(work, part), {
        recursive: true,
        filter: (path) => !path.includes('.terraform'),
      })
    }
    await testStacks(work, registryAnswers)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

await new Command('check-terraform')
  .description('Checks the format of the Terraform stacks, lints, validates and tests them.')
  .action(check)
  .parseAsync()
  .catch(reportFailure)
