/** `make plan`, `make apply`, `make destroy`, `make output`, `make kubeconfig`: the infrastructure of an environment. */
import { existsSync } from 'node:fs'
import { appendFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Argument, Command } from 'commander'
import { awsEnvironment, type BoxConfig, readConfig } from 'eks-box/config'
import { ActionableError, reportFailure } from 'eks-box/errors'
import { programPath } from 'eks-box/tools'
import { execa } from 'execa'
import { type CostPlan, monthlyCost, PRICES, renderCost } from './cost.ts'
import { destroyStacks } from './destroy.ts'
import { confirmProduction, type Environment, kubeContext, readEnvironment } from './environment.ts'
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

interface Context {
  environment: Environment
  box: BoxConfig
  /** Options for Terraform's plan, after the environment's own. */
  planOptions: string[]
}

/** The stacks that are meant: the one `STACK` names, or all of the environment's but bootstrap. */
function chosenStacks(environment: Environment, wanted: string | undefined): StackName[] {
  if (!wanted) {
    const usual = stacksOf(environment).filter((name) => name !== 'bootstrap')
    // The platform's charts and images lie outside: in the box only on request.
    return environment.name === 'local' ? usual.filter((name) => name === 'cluster') : usual
  }
  const name = STACKS.find((known) => known === wanted)
  if (name === undefined) {
    throw new ActionableError(`STACK is "${wanted}", which is no stack`, `use ${STACKS.join(', ')}`)
  }
  return [name]
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

async function plan({ environment, box, planOptions }: Context): Promise<void> {
  for (const name of chosenStacks(environment, process.env['STACK'])) {
    if (name === 'platform' && !(await isClusterApplied(environment, box))) {
      await skipPlan(await prepareStack(name, environment, box))
      continue
    }
    const stack = await prepareStack(name, environment, box)
    // A plan changes no state, so it needs no lock, and whoever may only plan needs no right to write one.
    const { summary, digest } = await makePlan(stack, ['-lock=false', ...planOptions])
    console.log(describePlan(titleOf(stack), summary))
    const file = `${planFile(stack)}.txt`
    const text = await run(stack, ['show', '-no-color', planFile(stack)])
    await writeFile(file, text)
    await writeFile(`${planFile(stack)}.digest`, isEmpty(summary) ? '' : digest)
    if (!isEmpty(summary)) console.log(`all of it: ${file}\ndigest: ${digest}`)
    const report = process.env['PLAN_SUMMARY']
    if (report) await appendFile(report, planMarkdown(titleOf(stack), summary, digest, text))
  }
}

/**
 * Makes sure that a plan is the one that was approved.
 *
 * @throws ActionableError when it is another one.
 */
function checkApproval(stack: Stack, digest: string): void {
  const approved = process.env['PLAN_DIGEST']
  if (!approved || approved === digest) return
  throw new ActionableError(
    `the plan of ${titleOf(stack)} is no longer the one that was approved: the digest was ${approved} and is ${digest}; nothing was changed`,
    'something has changed since: plan again, read that plan, and approve it',
  )
}

async function isClusterApplied(environment: Environment, box: BoxConfig): Promise<boolean> {
  return (await clusterOutputs(environment, box))['cluster_name'] !== undefined
}

/** An account that is still empty is no failure: what is in a cluster can be planned once there is one. */
async function skipPlan(stack: Stack): Promise<void> {
  const title = titleOf(stack)
  const reason = 'the cluster is not applied yet, so there is nothing to plan in it'
  console.log(`${title}: ${reason}`)
  await writeFile(`${planFile(stack)}.txt`, `${reason}\n`)
  await writeFile(`${planFile(stack)}.digest`, '')
  const report = process.env['PLAN_SUMMARY']
  if (report) await appendFile(report, `### ${title}\n\nNo plan: ${reason}.\n`)
}

async function apply({ environment, box, planOptions }: Context): Promise<void> {
  const reviewed = process.env['PLAN']
  const names = chosenStacks(environment, process.env['STACK'])
  if (reviewed && names.length > 1) {
    throw new ActionableError('PLAN is the plan of one stack', 'say which: STACK=cluster or STACK=platform')
  }
  if (reviewed && !existsSync(reviewed)) {
    throw new ActionableError(`PLAN is "${reviewed}", which is no file`, 'make one with `make plan`')
  }
  if (process.env['PLAN_DIGEST'] && names.length > 1) {
    throw new ActionableError(
      'PLAN_DIGEST is that of one stack',
      'say which: STACK=cluster or STACK=platform',
    )
  }
  confirmProduction(environment, { reviewed: Boolean(reviewed) })
  for (const name of names) {
    const since = Date.now()
    if (name === 'platform' && !(await isClusterApplied(environment, box))) {
      throw new ActionableError(
        `platform (${environment.name}): the cluster is not applied yet`,
        `apply it first: \`make apply ENV=${environment.name} STACK=cluster\``,
      )
    }
    const stack = await prepareStack(name, environment, box)
    let planned = reviewed ? await readPlan(stack, resolve(reviewed)) : await makePlan(stack, planOptions)
    if (!reviewed && creates(planned.document, 'aws_eks_cluster') && (await recoverCluster(stack, box))) {
      planned = await makePlan(stack, planOptions)
    }
    const { summary, digest } = planned
    console.log(describePlan(titleOf(stack), summary))
    if (isEmpty(summary)) continue
    checkApproval(stack, digest)
    await applyPlan(stack, reviewed ? resolve(reviewed) : planFile(stack))
    await rm(planFile(stack), { force: true })
    console.log(`applied ${titleOf(stack)} (${((Date.now() - since) / 1000).toFixed(1)} s)`)
  }
}

async function applyPlan(stack: Stack, file: string): Promise<void> {
  await follow(stack, ['apply', LOCK_TIMEOUT, file], (line) => console.log(`  ${line}`))
}

async function destroy({ environment, box }: Context): Promise<void> {
  confirmProduction(environment, { reviewed: false })
  const names = chosenStacks(environment, process.env['STACK']).toReversed()
  // In the box the platform is there only if somebody asked for it.
  if (!process.env['STACK'] && hasLocalState(environment, box, 'platform')) names.unshift('platform')
  await destroyStacks(names, environment, box, destroyStack)
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

async function output({ environment, box }: Context): Promise<void> {
  for (const name of chosenStacks(environment, process.env['STACK'])) {
    const stack = await prepareStack(name, environment, box)
    const text = await run(stack, ['output', '-no-color'])
    console.log(/No outputs found/.test(text) ? `${titleOf(stack)} has no outputs` : text)
  }
}

/** Adds the environment's cluster to the caller's kubeconfig, under a context of its own. */
async function kubeconfig({ environment, box }: Context): Promise<void> {
  const { cluster_name: name, region } = await clusterOutputs(environment, box)
  if (name === undefined || region === undefined) {
    throw new ActionableError(
      `${environment.name} has no cluster yet`,
      `create it with \`make apply ENV=${environment.name}\``,
    )
  }
  const isLocal = environment.name === 'local'
  await execa(
    isLocal ? programPath(box, 'aws') : 'aws',
    ['eks', 'update-kubeconfig', '--name', name, '--region', region, '--alias', kubeContext(environment)],
    { stdio: 'inherit', env: isLocal ? awsEnvironment(box) : {} },
  )
  if (isLocal) console.log('its tokens come from the box\'s AWS: eval "$(make -s env)" first')
}

/** Prices what the environment's cluster stack would create, planned in the box. */
async function cost({ environment, box }: Context): Promise<void> {
  const local = readEnvironment({ ENV: 'local' })
  const plan = JSON.parse(await planFromNothing(local, environment.name, box)) as CostPlan
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
      const environment = readEnvironment(process.env)
      await actions[action]({ environment, box: readConfig(process.env), planOptions })
    })
  await program.parseAsync().catch(reportFailure)
}
