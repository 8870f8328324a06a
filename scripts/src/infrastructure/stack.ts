/** `make plan`, `make apply`, `make destroy`, `make output`, `make kubeconfig`: the infrastructure of an environment. */
import { existsSync } from 'node:fs'
import { appendFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Argument, Command } from 'commander'
import { execa } from 'execa'
import { awsEnvironment } from 'shared/box'
import { confirmProduction, type Environment, kubeContext, readEnvironment } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'
import { PRICES } from 'shared/prices'
import { builtProgram } from 'shared/tools'
import { renderCost } from '../cost/bill.ts'
import { monthlyCost } from '../cost/cost.ts'
import { planForCost } from '../cost/environment-plans.ts'
import { shareCacheToken } from './cache-token.ts'
import { destroyStacks } from './destroy.ts'
import { moveFirstState } from './first-state.ts'
import { HelmPlatform } from './helm-platform.ts'
import { recoverInterrupted } from './interrupted.ts'
import {
  describePlan,
  isEmpty,
  type PlanDocument,
  type PlanSummary,
  planDigest,
  planMarkdown,
  summarize,
} from './plan.ts'
import {
  buildsOnCluster,
  networkSource,
  prepareStack,
  pushControllerImages,
  stacksOf,
} from './prepare-stack.ts'
import { helmMark, isInstalledByHelm } from './releases.ts'
import { clusterOutputs, readState, stackOutputs } from './state.ts'
import {
  follow,
  LOCK_TIMEOUT,
  OPTIONAL_STACKS,
  run,
  STACKS,
  type Stack,
  type StackName,
} from './terraform.ts'

/** What to do, from the command line and the environment variables. */
export interface Request {
  environment: Environment
  /** `STACK`: the only stack to work on. */
  stack?: StackName
  /** `PLAN`: a saved plan that was reviewed and is to be applied. */
  reviewedPlan?: string
  /** `PLAN_DIGEST`: the digest of the approved plan. */
  approvedDigest?: string
  /** `PLAN_SUMMARY`: a Markdown file to append the plan to. */
  summaryFile?: string
  /** Further options for `terraform plan`. */
  planOptions: string[]
}

/** @throws ActionableError when a variable has an invalid value. */
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

/** Stacks that only `STACK` selects in the box, where nothing sends the notifications. */
const NOT_IN_BOX: readonly StackName[] = ['alarms']

/** The stacks to work on: `STACK`, or all of the environment's except bootstrap and the optional ones. */
async function chosenStacks(request: Request): Promise<StackName[]> {
  const isLocal = request.environment.name === 'local'
  return (await stacksToDestroy(request)).filter(
    (name) =>
      name === request.stack || !(OPTIONAL_STACKS.has(name) || (isLocal && NOT_IN_BOX.includes(name))),
  )
}

/** The stacks to destroy: `STACK`, or all of the environment's except bootstrap and, if the network exists, `network`. */
async function stacksToDestroy({ environment, stack }: Request): Promise<StackName[]> {
  if (stack !== undefined) return [stack]
  const source = await networkSource(environment)
  return stacksOf(environment).filter(
    (name) => name !== 'bootstrap' && (name !== 'network' || source === 'stack'),
  )
}

/** Why a stack cannot be planned or applied now, and what to do about it; undefined when it can. */
interface Obstacle {
  reason: string
  nextStep: string
}

async function obstacle(name: StackName, environment: Environment): Promise<Obstacle | undefined> {
  if (buildsOnCluster(name) && (await clusterOutputs(environment))['cluster_name'] === undefined) {
    return {
      reason: 'the cluster is not applied yet',
      nextStep: `apply it first: \`make apply ENV=${environment.name} STACK=cluster\``,
    }
  }
  if (name !== 'network' && name !== 'cluster') return undefined
  const usesStack = (await networkSource(environment)) === 'stack'
  if (name === 'network' && !usesStack) {
    return {
      reason: 'the cluster uses an existing network',
      nextStep: `set network = "stack" in infrastructure-hcl/environments/${environment.name}/cluster.network.tfvars, or NETWORK=stack for this command`,
    }
  }
  if (
    name === 'cluster' &&
    usesStack &&
    (await stackOutputs(environment, 'network')).network['vpc_id'] === undefined
  ) {
    return {
      reason: 'the network is not applied yet',
      nextStep: `apply it first: \`make apply ENV=${environment.name} STACK=network\`; for an existing network, set network = "existing" in infrastructure-hcl/environments/${environment.name}/cluster.network.tfvars`,
    }
  }
  return undefined
}

const planFile = (stack: Stack) => join(stack.dataDirectory, 'plan')

const titleOf = ({ name, environment }: Pick<Stack, 'name' | 'environment'>) =>
  `${name} (${environment.name})`

/** A plan, its summary and its digest. */
interface Planned {
  document: PlanDocument
  summary: PlanSummary
  digest: string
}

/** Plans a stack and saves the plan, also as JSON. */
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

/**
 * Plans the chosen stacks, and saves each plan as text, as JSON and with its digest.
 *
 * @throws ActionableError when Terraform cannot plan.
 */
export async function plan(request: Request): Promise<void> {
  const { environment, planOptions, summaryFile } = request
  for (const name of await chosenStacks(request)) {
    const prevented = await obstacle(name, environment)
    if (name === 'platform' && (await isInstalledByHelm(environment))) {
      if (prevented === undefined) await planWithHelm(request)
      else await reportNoPlan(titleOf({ name, environment }), prevented, summaryFile)
      continue
    }
    const stack = await prepareStack(name, environment)
    if (prevented !== undefined) {
      await skipPlan(stack, prevented, summaryFile)
      continue
    }
    // Without a lock, planning needs no write access to the state. It changes none, so that is safe.
    const { summary, digest } = await makePlan(stack, ['-lock=false', ...planOptions])
    const brief = describePlan(titleOf(stack), summary)
    console.log(brief)
    const file = `${planFile(stack)}.txt`
    const hasChanges = !isEmpty(summary)
    // Rendering a plan takes seconds, because Terraform loads the schema of every provider.
    const text = hasChanges ? await run(stack, ['show', '-no-color', planFile(stack)]) : `${brief}\n`
    await writeFile(file, text)
    await writeFile(`${planFile(stack)}.digest`, hasChanges ? digest : '')
    if (hasChanges) console.log(`full plan: ${file}\ndigest: ${digest}`)
    if (summaryFile) await appendFile(summaryFile, planMarkdown(titleOf(stack), summary, digest, text))
  }
}

/** Plans the platform's releases where Helm installs them. Helm has no plan files. */
async function planWithHelm({ environment, planOptions, summaryFile }: Request): Promise<void> {
  const title = titleOf({ name: 'platform', environment })
  const { summary, lines, digest } = await new HelmPlatform(environment).plan(planOptions)
  const text = [describePlan(title, summary), ...lines].join('\n')
  console.log(text)
  if (!isEmpty(summary)) console.log(`digest: ${digest}`)
  if (summaryFile) await appendFile(summaryFile, planMarkdown(title, summary, digest, text))
}

/**
 * Checks that a plan is the approved one.
 *
 * @throws ActionableError when its digest differs.
 */
function checkApproval(title: string, digest: string, approved: string | undefined): void {
  if (approved === undefined || approved === digest) return
  throw new ActionableError(
    `the plan of ${title} differs from the approved one: the digest was ${approved} and is now ${digest}; nothing was changed`,
    'plan again, then review and approve the new plan',
  )
}

/** In a new account, the stacks before may not be applied yet. That is normal, so it is not an error. */
async function skipPlan(stack: Stack, prevented: Obstacle, summaryFile: string | undefined): Promise<void> {
  const reason = await reportNoPlan(titleOf(stack), prevented, summaryFile)
  await writeFile(`${planFile(stack)}.txt`, `${reason}\n`)
  await writeFile(`${planFile(stack)}.digest`, '')
}

async function reportNoPlan(
  title: string,
  { reason }: Obstacle,
  summaryFile: string | undefined,
): Promise<string> {
  const sentence = `${reason}, so there is nothing to plan`
  console.log(`${title}: ${sentence}`)
  if (summaryFile) await appendFile(summaryFile, `### ${title}\n\nNo plan: ${sentence}.\n`)
  return sentence
}

/**
 * Applies the chosen stacks.
 *
 * @throws ActionableError when a stack needs another one that is not applied, a plan is not the approved one, or
 * Terraform fails.
 */
export async function apply(request: Request): Promise<void> {
  const { environment, planOptions, reviewedPlan, approvedDigest } = request
  const names = await chosenStacks(request)
  if ((reviewedPlan !== undefined || approvedDigest !== undefined) && names.length > 1) {
    throw new ActionableError(
      `${reviewedPlan === undefined ? 'PLAN_DIGEST' : 'PLAN'} applies to a single stack`,
      `add STACK=${names.join(' or STACK=')}`,
    )
  }
  confirmProduction(environment, { reviewed: reviewedPlan !== undefined })
  for (const name of names) {
    const since = Date.now()
    const prevented = await obstacle(name, environment)
    if (prevented !== undefined) {
      throw new ActionableError(`${titleOf({ name, environment })}: ${prevented.reason}`, prevented.nextStep)
    }
    if (name === 'platform' && environment.name === 'local') await pushControllerImages(environment.box)
    if (name === 'platform' && (await isInstalledByHelm(environment))) {
      await applyWithHelm(request)
      continue
    }
    const stack = await prepareStack(name, environment)
    let planned =
      reviewedPlan === undefined ? await makePlan(stack, planOptions) : await readPlan(stack, reviewedPlan)
    if (reviewedPlan === undefined && (await recoverInterrupted(stack, planned.document))) {
      planned = await makePlan(stack, planOptions)
    }
    console.log(describePlan(titleOf(stack), planned.summary))
    if (!isEmpty(planned.summary)) {
      checkApproval(titleOf(stack), planned.digest, approvedDigest)
      await applyPlan(stack, reviewedPlan ?? planFile(stack))
      await rm(planFile(stack), { force: true })
    }
    // Even without changes, because a previous run may have been interrupted before it.
    if (name === 'data') await shareCacheToken(environment)
    if (stack.firstState !== undefined) await moveFirstState(stack, stack.firstState)
    if (!isEmpty(planned.summary)) {
      console.log(`applied ${titleOf(stack)} (${((Date.now() - since) / 1000).toFixed(1)} s)`)
    }
  }
}

async function applyWithHelm({
  environment,
  planOptions,
  reviewedPlan,
  approvedDigest,
}: Request): Promise<void> {
  const since = Date.now()
  const title = titleOf({ name: 'platform', environment })
  if (reviewedPlan !== undefined) {
    throw new ActionableError(
      `PLAN is "${reviewedPlan}", but Helm installs the platform's releases here, and has no plan files`,
      'apply without PLAN, or with the PLAN_DIGEST that `make plan` prints',
    )
  }
  const platform = new HelmPlatform(environment)
  const planned = await platform.plan(planOptions)
  console.log([describePlan(title, planned.summary), ...planned.lines].join('\n'))
  if (isEmpty(planned.summary)) return
  checkApproval(title, planned.digest, approvedDigest)
  await platform.apply(planned)
  console.log(`applied ${title} (${((Date.now() - since) / 1000).toFixed(1)} s)`)
}

async function applyPlan(stack: Stack, file: string): Promise<void> {
  await follow(stack, ['apply', LOCK_TIMEOUT, file], (line) => console.log(`  ${line}`))
}

async function destroy(request: Request): Promise<void> {
  const { environment } = request
  confirmProduction(environment, { reviewed: false })
  await destroyStacks((await stacksToDestroy(request)).toReversed(), environment, {
    destroyStack,
    detachStack,
  })
}

/** Applies an edge stack without what refers to the load balancer. */
async function detachStack(stack: Stack): Promise<void> {
  const { summary } = await makePlan(stack, ['-var=attached=false'])
  if (isEmpty(summary)) return
  console.log(describePlan(titleOf(stack), summary))
  await applyPlan(stack, planFile(stack))
  await rm(planFile(stack), { force: true })
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
  const { environment } = request
  for (const name of await chosenStacks(request)) {
    const isHelms = name === 'platform' && (await isInstalledByHelm(environment))
    const text = isHelms
      ? await outputOfHelm(environment)
      : await outputOf(await prepareStack(name, environment))
    console.log(text === '' ? `${titleOf({ name, environment })} has no outputs` : text)
  }
}

async function outputOf(stack: Stack): Promise<string> {
  const text = await run(stack, ['output', '-no-color'])
  return /No outputs found/.test(text) ? '' : text
}

async function outputOfHelm(environment: Environment): Promise<string> {
  if (!existsSync(helmMark(environment.box))) return ''
  return Object.entries(await new HelmPlatform(environment).outputs())
    .flatMap(([name, value]) => (typeof value === 'string' ? [`${name} = ${JSON.stringify(value)}`] : []))
    .join('\n')
}

/** Adds a context for the environment's cluster to the caller's kubeconfig. */
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
  if (isLocal) console.log('kubectl gets its tokens from the box\'s AWS, so run eval "$(make -s env)" first')
}

/** Prints the monthly cost of the environment's stacks, from plans made in the box. */
async function cost(request: Request): Promise<void> {
  const { environment } = request
  const local = readEnvironment({ ...process.env, ENV: 'local', KUBE_CONTEXT: '' })
  const names = await chosenStacks(request)
  const plans = await planForCost(names, local, environment.name)
  console.log(renderCost(monthlyCost(plans, PRICES, new Date())))
  console.log(`counted: ${names.join(', ')}`)
}

const actions = { cost, plan, apply, destroy, output, kubeconfig }

if (import.meta.main) {
  const program = new Command('stack')
    .description(
      'Plans, applies and destroys the Terraform stacks of an environment. Reads ENV, STACK, PLAN, PLAN_DIGEST and PLAN_SUMMARY.',
    )
    .addArgument(new Argument('<action>').choices(Object.keys(actions)))
    .argument('[options...]', 'options for `terraform plan`, after --')
    .action(async (action: keyof typeof actions, planOptions: string[]) => {
      await actions[action](readRequest(process.env, planOptions))
    })
  await program.parseAsync().catch(reportFailure)
}
