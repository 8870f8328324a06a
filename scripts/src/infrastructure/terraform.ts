import { execa } from 'execa'
import type { Environment } from 'shared/environment'
import { ActionableError } from 'shared/errors'

/** The stacks, in the order in which they build on one another. */
export const STACKS = ['bootstrap', 'network', 'cluster', 'data', 'platform', 'edge', 'alarms'] as const
export type StackName = (typeof STACKS)[number]

/** Stacks that are planned and applied only if `STACK` names them, but destroyed with the others. */
export const OPTIONAL_STACKS: ReadonlySet<StackName> = new Set<StackName>(['edge'])

/** A stack of an environment, initialised for Terraform's commands. */
export interface Stack {
  name: StackName
  environment: Environment
  directory: string
  /** Terraform's data directory: modules, providers and saved plans. Each environment has its own. */
  dataDirectory: string
  /** Terraform's environment variables. */
  variables: Record<string, string | undefined>
  /** Options for the commands that read the stack's variables. */
  options: string[]
  /** Set while the state is in a file, because the stack itself creates the bucket of the states. */
  firstState?: FirstState
}

/** The state of the bootstrap stack until its first apply ends. */
export interface FirstState {
  file: string
  /** The file that makes Terraform use it. */
  override: string
  /** Options for `terraform init` that select the bucket. */
  backend: string[]
}

/** Commands wait this long for the state's lock: enough for another run's plan or short apply. */
export const LOCK_TIMEOUT = '-lock-timeout=2m'

/** A line of Terraform's output with -json. */
interface Message {
  '@level': string
  '@message': string
  type: string
  diagnostic?: Diagnostic
}

interface Diagnostic {
  severity: string
  summary: string
  detail: string
  address?: string
  range?: { filename: string; start: { line: number } }
}

/** Known causes of Terraform's errors, with the next step for each. */
const remedies: readonly { pattern: RegExp; nextStep: (stack: Stack) => string }[] = [
  {
    pattern: /Error acquiring the state lock/,
    nextStep: () =>
      'wait for the run that holds it; if it was killed, release the lock: `terraform force-unlock <ID>` in the stack',
  },
  {
    pattern: /Resource already managed by Terraform/,
    nextStep: () => 'another run has imported it in the meantime: run the command again',
  },
  {
    pattern: /S3 bucket "[^"]*" does not exist/,
    nextStep: ({ environment }) =>
      `the account is not set up yet: create the bucket with \`make apply STACK=bootstrap ENV=${environment.name}\` (docs/getting-started-aws.md)`,
  },
  {
    // When it is interrupted, the AWS provider abandons requests that AWS is still carrying out.
    pattern: /AlreadyExists|already exists|already in use on this cluster|InvalidGroup\.Duplicate/,
    nextStep: () =>
      'if an interrupted run created it without recording it, take it over with `terraform import <address> <id>` in the stack, or delete it; then run the command again',
  },
  {
    pattern: /No valid credential sources|ExpiredToken|InvalidClientTokenId|could not be found in the shared/,
    nextStep: () => 'sign in to AWS (`aws sso login`, or AWS_PROFILE), then run the command again',
  },
  {
    pattern: /Failed to query available provider packages|no available releases match|Incompatible provider/,
    nextStep: () =>
      'set TERRAFORM_PROVIDER_MIRROR to a directory made by `terraform providers mirror` (docs/infrastructure.md, without internet access)',
  },
  {
    pattern: /remote module registry|[Mm]odule is not yet installed|discovery document|connect to registry/,
    nextStep: () =>
      'check the network and the proxy settings, or set TERRAFORM_MODULE_MIRROR to a directory with the modules (docs/infrastructure.md, without internet access)',
  },
  {
    pattern: /recorded in the dependency lock file|Provider dependency changes detected|locked provider/,
    nextStep: () =>
      'use the official package of that version; after a change of versions.tf, `terraform init -upgrade` in the stack updates .terraform.lock.hcl: commit it',
  },
  {
    pattern: /ECONNREFUSED|connection refused|no such host/,
    nextStep: ({ environment }) =>
      environment.usesBox ? 'start the box with `make box`' : 'check the network and the proxy settings',
  },
]

/**
 * Runs a Terraform command.
 *
 * @param input - for commands that read stdin
 * @returns its stdout
 * @throws ActionableError with Terraform's first error
 */
export async function run(stack: Stack, args: string[], input?: string): Promise<string> {
  const result = await execa('terraform', args, {
    ...(input === undefined ? {} : { input }),
    cwd: stack.directory,
    env: stack.variables,
    reject: false,
    all: true,
  })
  if (result.code === 'ENOENT') throw terraformMissing()
  if (result.failed) {
    const output = (result.all ?? '').replace(/^[│╷╵]\s?/gm, '')
    const first = /^Error: [\s\S]*?(?=\n\n\n|\nError: |$)/m.exec(output)?.[0] ?? output
    const brief = first
      .replace(/^Error: /, '')
      .replace(/\s+/g, ' ')
      .trim()
    throw failure(stack, `terraform ${args[0]}: ${brief.slice(0, 600)}`, brief)
  }
  return result.stdout ?? ''
}

/**
 * Runs a Terraform command that supports `-json`, and reports its progress.
 *
 * @param onMessage - receives a line for each change that is in progress or complete
 * @throws ActionableError with Terraform's errors, one per line, or after Ctrl-C
 */
export async function follow(
  stack: Stack,
  args: string[],
  onMessage: (message: string) => void,
): Promise<void> {
  const [command = '', ...rest] = args
  const running = execa('terraform', [command, '-json', ...rest], {
    cwd: stack.directory,
    env: stack.variables,
    reject: false,
    // Terraform receives Ctrl-C itself: it finishes the running operations and saves its state.
    cleanup: false,
  })
  let interrupted = false
  const onInterrupt = () => {
    interrupted = true
  }
  process.on('SIGINT', onInterrupt)
  const errors: Diagnostic[] = []
  const unreadable: string[] = []
  for await (const line of running.iterable()) {
    const message = parseMessage(line)
    if (message === undefined) unreadable.push(line)
    else if (message.diagnostic?.severity === 'error') errors.push(message.diagnostic)
    else if (/^(apply_complete|refresh_complete|apply_progress)$/.test(message.type)) {
      if (message.type !== 'refresh_complete') onMessage(message['@message'])
    }
  }
  const result = await running
  process.removeListener('SIGINT', onInterrupt)
  if (result.code === 'ENOENT') throw terraformMissing()
  // Even if Terraform had finished just then: the caller must not go on to the next step.
  if (interrupted) {
    throw new ActionableError(
      `${stack.name} (${stack.environment.name}): interrupted; its state is saved`,
      'nothing is lost: run the command again to continue',
    )
  }
  if (!result.failed) return
  const lines = errors.map(describe)
  const message = lines.length > 0 ? lines.join('\n') : [...unreadable, result.stderr].join('\n').trim()
  throw failure(stack, `${stack.name} (${stack.environment.name}): ${message}`, message, command)
}

function parseMessage(line: string): Message | undefined {
  try {
    return JSON.parse(line) as Message
  } catch {
    return undefined
  }
}

/** Formats an error as one line: what is wrong, why, and where. */
export function describe({ summary, detail, address, range }: Diagnostic): string {
  const why = detail
    .replace(/\n\nThis was checked by the validation rule at [\s\S]*$/, '')
    .replace(/\s+/g, ' ')
    .trim()
  const general = [
    'Invalid value for variable',
    'Resource postcondition failed',
    'Resource precondition failed',
  ]
  const what = why === '' ? summary : general.includes(summary) ? why : `${summary}: ${why}`
  const where = address ?? (range === undefined ? undefined : `${range.filename}:${range.start.line}`)
  return where === undefined ? what : `${what} (${where})`
}

function failure(stack: Stack, message: string, evidence: string, command = 'init'): ActionableError {
  const remedy = remedies.find(({ pattern }) => pattern.test(evidence))
  const file = `infrastructure-hcl/environments/${stack.environment.name}/${stack.name}.tfvars`
  const usual =
    command === 'apply'
      ? 'nothing is lost: fix the cause, then run the command again to continue'
      : `nothing was changed: correct the input, most likely in ${file}`
  return new ActionableError(message, remedy?.nextStep(stack) ?? usual)
}

export function terraformMissing(): ActionableError {
  return new ActionableError(
    'terraform is not installed',
    'install Terraform 1.11 or newer, then run the command again (`make doctor` lists everything needed)',
  )
}
