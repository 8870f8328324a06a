/** `make plan`, `make apply`, `make destroy`, `make output`, `make kubeconfig`: the infrastructure of an environment. */
import { existsSync } from 'node:fs'
import { appendFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Argument, Command } from 'commander'
import { builtProgram } from 'eks-box/tools'
import { execa } from 'execa'
import { awsEnvironment } from 'shared/box'
import { confirmProduction, type Environment, kubeContext, readEnvironment } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { type CostPlan, monthlyCost, PRICES, renderCost } from './cost.ts'
import { destroyStacks } from './destroy.ts'

import { recoverCluster } from './interrupted.ts'
import {
  creates,
  describePlan,
  isEmpty,
  type PlanDocument,
  type PlanSummary,
  planDigest,
  planMarkdown,
  summarize,
} from './plan.ts'
import {
  clusterOutputs,
  follow,
  hasLocalState,
  LOCK_TIMEOUT,
  planFromNothing,
  prepareStack,
  readState,
  run,
  STACKS,
  type Stack,
  type StackName,
  stacksOf,
} from './terraform.ts'

/** What a command was asked for. */
interface Request {
  environment: Environment
  /** The stack that `STACK` names. */
  stack?: StackName
  /** The saved plan to apply, which somebody has read: `PLAN`. */
  reviewedPlan?: string
  /** The digest of the plan that somebody approved: `PLAN_DIGEST`. */
  approvedDigest?: string
  /** The Markdown file that a plan is appended to: `PLAN_SUMMARY`. */
  summaryFile?: string
  /** Options for Terraform's plan, after the environment's own. */
  planOptions: string[]
}

/** @throws ActionableError when a variable has a value that is not allowed. */
function readRequest(env: NodeJS.ProcessEnv, planOptions: string[]): Request {
  const request: Request = { environment: readEnvironment(env), planOptions }
  const { STACK, PLAN, PLAN_DIGEST, PLAN_SUMMARY } = env
  if (STACK) {
    const stack = STACKS.find((known) => known === STACK)
    if (stack === undefined) {
      throw new ActionableError(
        `STACK is "${STACK}", but there is no such stack`,
        `use one of ${STACKS.join(', ')}`,
      )
    }
    request.stack = stack
  }
  if (PLAN) {
    if (!existsSync(PLAN)) {
      throw new ActionableError(`PLAN is "${PLAN}", but there is no such file`, 'make one with `make plan`')
    }
    request.reviewedPlan = resolve(PLAN)
  }
  if (PLAN_DIGEST) request.approvedDigest = PLAN_DIGEST
  if (PLAN_SUMMARY) request.summaryFile = PLAN_SUMMARY
  return request
}

/** The stacks to work on: the one that was asked for, or all of the environment's except bootstrap. */
function chosenStacks({ environment, stack }: Request): StackName[] {
  if (stack !== undefined) return [stack]
  const usual = stacksOf(environment).filter((name) => name !== 'bootstrap')
  // The platform needs charts and images from outside, so the box has it only on request.
  return environment.name === 'local' ? usual.filter((name) => name === 'cluster') : usual
}

const planFile = (stack: Stack) => join(stack.dataDirectory, 'plan')

const titleOf = (stack: Stack) => `${stack.name} (${stack.environment.name})`

/** A plan, its summary, and the digest of what it would do. */
interface Planned {
  document: PlanDocument
  summary: PlanSummary
  digest: string
}

/** Plans a stack, keeps the plan beside its JSON, and tells in short what it does. */
async function makePlan(stack: Stack, options: string[] = []): Promise<Planned> {
  await follow(
    stack,
    ['plan', LOCK_TIMEOUT, `-out=${planFile(stack)}`, ...stack.options, ...options],
    () => {},
  )
  return readPlan(stack, planFile(stack))
}

async function readPlan(stack: Stack, file: string): Promise<Planned> {
  const json = await run(stack, ['show', '-json', file])
  await writeFile(`${planFile(stack)}.json`, json)
  const document = JSON.parse(json) as PlanDocument
  return { document, summary: summarize(document), digest: planDigest(titleOf(stack), document) }
}

async function plan(request: Request): Promise<void> {
  const { environment, planOptions, summaryFile } = request
  for (const name of chosenStacks(request)) {
    const stack = await prepareStack(name, environment)
    if (name === 'platform' && !(await isClusterApplied(environment))) {
      await skipPlan(stack, summaryFile)
      continue
    }
    // A plan changes no state, so it needs no lock, and whoever may only plan needs no right to write one.
    const { summary, digest } = await makePlan(stack, ['-lock=false', ...planOptions])
    const brief = describePlan(titleOf(stack), summary)
    console.log(brief)
    const file = `${planFile(stack)}.txt`
    const hasChanges = !isEmpty(summary)
    // Terraform loads every provider's schema to render a plan, which takes seconds.
    const text = hasChanges ? await run(stack, ['show', '-no-color', planFile(stack)]) : `${brief}\n`
    await writeFile(file, text)
    await writeFile(`${planFile(stack)}.digest`, hasChanges ? digest : '')
    if (hasChanges) console.log(`all of it: ${file}\ndigest: ${digest}`)
    if (summaryFile) await appendFile(summaryFile, planMarkdown(titleOf(stack), summary, digest, text))
  }
}

/**
 * Makes sure that a plan is the one that was approved.
 *
 * @throws ActionableError when it is another one.
 */
function checkApproval(stack: Stack, digest: string, approved: string | undefined): void {
  if (approved === undefined || approved === digest) return
  throw new ActionableError(
    `the plan of ${titleOf(stack)} is no longer the one that was approved: the digest was ${approved} and is ${digest}; nothing was changed`,
    'something has changed since: plan again, read that plan, and approve it',
  )
}

async function isClusterApplied(environment: Environment): Promise<boolean> {
  return (await clusterOutputs(environment))['cluster_name'] !== undefined
}

/** An account that is still empty is no failure: what is in a cluster can be planned once there is one. */
async function skipPlan(stack: Stack, summaryFile: string | undefined): Promise<void> {
  const title = titleOf(stack)
  const reason = 'the cluster is not applied yet, so there is nothing to plan in it'
  console.log(`${title}: ${reason}`)
  await writeFile(`${planFile(stack)}.txt`, `${reason}\n`)
  await writeFile(`${planFile(stack)}.digest`, '')
  if (summaryFile) await appendFile(summaryFile, `### ${title}\n\nNo plan: ${reason}.\n`)
}

async function apply(request: Request): Promise<void> {
  const { environment, planOptions, reviewedPlan, approvedDigest } = request
  const names = chosenStacks(request)
  if ((reviewedPlan !== undefined || approvedDigest !== undefined) && names.length > 1) {
    throw new ActionableError(
      `${reviewedPlan === undefined ? 'PLAN_DIGEST' : 'PLAN'} belongs to one stack`,
      'choose it with STACK=cluster or STACK=platform',
    )
  }
  confirmProduction(environment, process.env, { reviewed: reviewedPlan !== undefined })
  for (const name of names) {
    const since = Date.now()
    if (name === 'platform' && !(await isClusterApplied(environment))) {
      throw new ActionableError(
        `platform (${environment.name}): the cluster is not applied yet`,
        `apply it first: \`make apply ENV=${environment.name} STACK=cluster\``,
      )
    }
    const stack = await prepareStack(name, environment)
    let planned =
      reviewedPlan === undefined ? await makePlan(stack, planOptions) : await readPlan(stack, reviewedPlan)
    const createsCluster = reviewedPlan === undefined && creates(planned.document, 'aws_eks_cluster')
    if (createsCluster && (await recoverCluster(stack))) planned = await makePlan(stack, planOptions)
    console.log(describePlan(titleOf(stack), planned.summary))
    if (isEmpty(planned.summary)) continue
    checkApproval(stack, planned.digest, approvedDigest)
    await applyPlan(stack, reviewedPlan ?? planFile(stack))
    await rm(planFile(stack), { force: true })
    console.log(`applied ${titleOf(stack)} (${((Date.now() - since) / 1000).toFixed(1)} s)`)
  }
}

async function applyPlan(stack: Stack, file: string): Promise<void> {
  await follow(stack, ['apply', LOCK_TIMEOUT, file], (line) => console.log(`  ${line}`))
}

async function destroy(request: Request): Promise<void> {
  const { environment, stack } = request
  confirmProduction(environment, process.env, { reviewed: false })
  const names = chosenStacks(request).toReversed()
  // In the box the platform is there only if somebody asked for it.
  if (stack === undefined && hasLocalState(environment, 'platform')) names.unshift('platform')
  await destroyStacks(names, environment, destroyStack)
}

async function destroyStack(stack: Stack): Promise<void> {
  if ((await readState(stack)).resources.length === 0) {
    console.log(`${titleOf(stack)}: there is nothing to destroy`)
    return
  }
  console.log(describePlan(titleOf(stack), (await makePlan(stack, ['-destroy'])).summary))
  await applyPlan(stack, planFile(stack))
  await rm(planFile(stack), { force: true })
  console.log(`destroyed ${titleOf(stack)}`)
}

async function output(request: Request): Promise<void> {
  for (const name of chosenStacks(request)) {
    const stack = await prepareStack(name, request.environment)
    const text = await run(stack, ['output', '-no-color'])
    console.log(/No outputs found/.test(text) ? `${titleOf(stack)} has no outputs` : text)
  }
}

/** Adds the environment's cluster to the caller's kubeconfig, under a context of its own. */
async function kubeconfig({ environment }: Request): Promise<void> {
  const { box } = environment
  const { cluster_name: name, region } = await clusterOutputs(environment)
  if (name === undefined || region === undefined) {
    throw new ActionableError(
      `${environment.name} has no cluster yet`,
      `create it with \`make apply ENV=${environment.name}\``,
    )
  }
  const isLocal = environment.name === 'local'
  await execa(
    isLocal ? builtProgram(box, 'aws') : 'aws',
    [
      'eks',
      'update-kubeconfig',
      '--name',
      name,
      '--region',
      region,
      '--alias',
      kubeContext(environment.name),
    ],
    { stdio: 'inherit', env: isLocal ? awsEnvironment(box) : {} },
  )
  if (isLocal) console.log('its tokens come from the box\'s AWS: eval "$(make -s env)" first')
}

/** Prices what the environment's cluster stack would create, planned in the box. */
async function cost({ environment }: Request): Promise<void> {
  const local = readEnvironment({ ...process.env, ENV: 'local', KUBE_CONTEXT: '' })
  const plan = JSON.parse(await planFromNothing(local, environment.name)) as CostPlan
  console.log(renderCost(monthlyCost(plan, PRICES, new Date())))
  console.log('not counted: the platform stack; docs/cost.md tells how to price its plan too')
}

const actions = { cost, plan, apply, destroy, output, kubeconfig }

if (import.meta.main) {
  const program = new Command('stack')
    .description(
      "An environment's infrastructure. ENV, STACK, PLAN and PLAN_DIGEST choose which, what of it, and by which plan.",
    )
    .addArgument(new Argument('<action>').choices(Object.keys(actions)))
    .argument('[options...]', 'for `terraform plan`, after --')
    .action(async (action: keyof typeof actions, planOptions: string[]) => {
      await actions[action](readRequest(process.env, planOptions))
    })
  await program.parseAsync().catch(reportFailure)
}
