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
import { shareCacheToken } from './cache-token.ts'
import { type CostPlan, monthlyCost, renderCost } from './cost.ts'
import { destroyStacks } from './destroy.ts'
import { HelmPlatform } from './helm-platform.ts'
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
  buildsOnCluster,
  planFromEmptyState,
  prepareStack,
  pushControllerImages,
  stacksOf,
} from './prepare-stack.ts'
import { helmMark, isInstalledByHelm } from './releases.ts'
import { clusterOutputs, readState } from './state.ts'
import { follow, LOCK_TIMEOUT, run, STACKS, type Stack, type StackName } from './terraform.ts'

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

/** The stacks to work on: `STACK`, or all of the environment's except bootstrap. */
function chosenStacks({ environment, stack }: Request): StackName[] {
  if (stack !== undefined) return [stack]
  return stacksOf(environment).filter((name) => name !== 'bootstrap')
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
  for (const name of chosenStacks(request)) {
    const hasCluster = !buildsOnCluster(name) || (await isClusterApplied(environment))
    if (name === 'platform' && (await isInstalledByHelm(environment))) {
      if (hasCluster) await planWithHelm(request)
      else await reportMissingCluster(titleOf({ name, environment }), summaryFile)
      continue
    }
    const stack = await prepareStack(name, environment)
    if (!hasCluster) {
      await skipPlan(stack, summaryFile)
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

async function isClusterApplied(environment: Environment): Promise<boolean> {
  return (await clusterOutputs(environment))['cluster_name'] !== undefined
}

/** Without a cluster, the stacks that build on it cannot be planned. That is normal for a new account, so it is not an error. */
async function skipPlan(stack: Stack, summaryFile: string | undefined): Promise<void> {
  const reason = await reportMissingCluster(titleOf(stack), summaryFile)
  await writeFile(`${planFile(stack)}.txt`, `${reason}\n`)
  await writeFile(`${planFile(stack)}.digest`, '')
}

async function reportMissingCluster(title: string, summaryFile: string | undefined): Promise<string> {
  const reason = 'the cluster is not applied yet, so there is nothing to plan in it'
  console.log(`${title}: ${reason}`)
  if (summaryFile) await appendFile(summaryFile, `### ${title}\n\nNo plan: ${reason}.\n`)
  return reason
}

/**
 * Applies the chosen stacks.
 *
 * @throws ActionableError when a stack needs the cluster and there is none, a plan is not the approved one, or
 * Terraform fails.
 */
export async function apply(request: Request): Promise<void> {
  const { environment, planOptions, reviewedPlan, approvedDigest } = request
  const names = chosenStacks(request)
  if ((reviewedPlan !== undefined || approvedDigest !== undefined) && names.length > 1) {
    throw new ActionableError(
      `${reviewedPlan === undefined ? 'PLAN_DIGEST' : 'PLAN'} applies to a single stack`,
      'add STACK=cluster, STACK=data or STACK=platform',
    )
  }
  confirmProduction(environment, { reviewed: reviewedPlan !== undefined })
  for (const name of names) {
    const since = Date.now()
    if (buildsOnCluster(name) && !(await isClusterApplied(environment))) {
      throw new ActionableError(
        `${titleOf({ name, environment })}: the cluster is not applied yet`,
        `apply it first: \`make apply ENV=${environment.name} STACK=cluster\``,
      )
    }
    if (name === 'platform' && environment.name === 'local') await pushControllerImages(environment.box)
    if (name === 'platform' && (await isInstalledByHelm(environment))) {
      await applyWithHelm(request)
      continue
    }
    const stack = await prepareStack(name, environment)
    let planned =
      reviewedPlan === undefined ? await makePlan(stack, planOptions) : await readPlan(stack, reviewedPlan)
    const createsCluster = reviewedPlan === undefined && creates(planned.document, 'aws_eks_cluster')
    if (createsCluster && (await recoverCluster(stack))) planned = await makePlan(stack, planOptions)
    console.log(describePlan(titleOf(stack), planned.summary))
    if (!isEmpty(planned.summary)) {
      checkApproval(titleOf(stack), planned.digest, approvedDigest)
      await applyPlan(stack, reviewedPlan ?? planFile(stack))
      await rm(planFile(stack), { force: true })
    }
    // Even without changes, because a previous run may have been interrupted before it.
    if (name === 'data') await shareCacheToken(environment)
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
  await destroyStacks(chosenStacks(request).toReversed(), environment, destroyStack)
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
  for (const name of chosenStacks(request)) {
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

/** Prints the monthly cost of the environment's cluster and data stacks, from plans made in the box. */
async function cost({ environment }: Request): Promise<void> {
  const local = readEnvironment({ ...process.env, ENV: 'local', KUBE_CONTEXT: '' })
  const plans = [JSON.parse(await planFromEmptyState(local, 'cluster', environment.name)) as CostPlan]
  const withData = stacksOf(environment).includes('data') && (await isClusterApplied(local))
  if (withData) plans.push(JSON.parse(await planFromEmptyState(local, 'data', environment.name)) as CostPlan)
  const today = new Date()
  console.log(renderCost(plans.flatMap((plan) => monthlyCost(plan, PRICES, today))))
  if (!withData) {
    console.log('not counted: the data stack, which builds on the cluster: `make apply STACK=cluster` first')
  }
  console.log('not counted: the platform stack; docs/cost.md explains how to price its plan')
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
