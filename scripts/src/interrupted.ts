/** What an apply that was interrupted while it created the cluster leaves behind. */
import type { BoxConfig } from 'eks-box/config'
import { ActionableError } from 'eks-box/errors'
import { programPath } from 'eks-box/tools'
import { type ExecaError, execa } from 'execa'
import { run, type Stack } from './terraform.ts'

interface StateModule {
  resources?: { address: string; type: string; tainted?: boolean; values: { name?: string } }[]
  child_modules?: StateModule[]
}

/** A state as `terraform show -json` prints it; without values when there is nothing in it. */
export interface StateDocument {
  values?: { root_module: StateModule }
}

/** The clusters whose creation Terraform did not see the end of, and would therefore replace. */
export function unfinishedClusters({ values }: StateDocument): { address: string; name: string }[] {
  return values === undefined ? [] : unfinishedIn(values.root_module)
}

function unfinishedIn({
  resources = [],
  child_modules = [],
}: StateModule): { address: string; name: string }[] {
  const here = resources
    .filter(({ type, tainted }) => type === 'aws_eks_cluster' && tainted === true)
    .map(({ address, values }) => ({ address, name: String(values.name) }))
  return [...here, ...child_modules.flatMap(unfinishedIn)]
}

/**
 * Waits for such a cluster, whose creation EKS has gone on with, and keeps it. Left alone it could never be replaced:
 * node groups are created before they are destroyed, and so is the cluster they depend on, under a name that is taken.
 *
 * @throws ActionableError when the cluster does not become active.
 */
export async function keepUnfinishedClusters(stack: Stack, box: BoxConfig): Promise<void> {
  const state = JSON.parse(await run(stack, ['show', '-json'])) as StateDocument
  for (const { address, name } of unfinishedClusters(state)) {
    console.log(
      `the creation of cluster ${name} was interrupted, EKS goes on with it: waiting until it is active`,
    )
    const aws = stack.environment.name === 'local' ? programPath(box, 'aws') : 'aws'
    await execa(aws, ['eks', 'wait', 'cluster-active', '--name', name], {
      env: stack.variables,
      all: true,
    }).catch((cause: ExecaError) => {
      throw new ActionableError(
        `cluster ${name}, whose creation was interrupted, does not become active: ${cause.all ?? cause.message}`,
        `see \`aws eks describe-cluster --name ${name}\`; if it has failed, \`aws eks delete-cluster --name ${name}\`, then run the command again`,
        { cause },
      )
    })
    await run(stack, ['untaint', address])
  }
}
