/** Which files belong to the box, and which the caller of sudo gets. */
import { existsSync } from 'node:fs'
import { chown, mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { type BoxConfig, kubeconfigPath, operatorKeyPath } from 'shared/box'
import { ActionableError } from 'shared/errors'
import { readStatus } from './status.ts'

/** File that marks a state directory as created by a box, which may remove it. */
const marker = '.eks-box'

/** Creates the state directory, and marks it as the box's. */
export async function claimStateDirectory({ stateDir }: BoxConfig): Promise<void> {
  await mkdir(stateDir, { recursive: true })
  await writeFile(join(stateDir, marker), '')
}

/**
 * Checks that the box may write to and remove the state directory: it must be new, empty, or created by a box.
 *
 * @throws ActionableError when the directory contains anything else.
 */
export async function requireBoxDirectory(config: BoxConfig): Promise<void> {
  const { stateDir } = config
  if (!existsSync(stateDir) || existsSync(join(stateDir, marker))) return
  if ((await readStatus(config)) !== undefined || (await readdir(stateDir)).length === 0) return
  throw new ActionableError(
    `${stateDir} contains files that were not created by a box`,
    'set BOX_STATE_DIR and BOX_NAME so that <BOX_STATE_DIR>/<BOX_NAME> is a new directory or belongs to a box',
  )
}

/** Makes the caller of sudo the owner of the kubeconfig and the AWS key; otherwise only root could use the cluster. */
export async function handOver(config: BoxConfig, env: NodeJS.ProcessEnv): Promise<void> {
  const [uid, gid] = [Number(env['SUDO_UID']), Number(env['SUDO_GID'])]
  if (!(uid > 0 && gid >= 0)) return
  for (const path of [kubeconfigPath(config), operatorKeyPath(config)]) await chown(path, uid, gid)
  // `make apply` keeps the Terraform state of the local environment here.
  const terraform = join(config.stateDir, 'terraform')
  await mkdir(terraform, { recursive: true })
  await giveTo(`${uid}:${gid}`, terraform)
}

/** Makes the caller of sudo the owner of the built tools, so that a later `make tools` works without sudo. */
export async function handOverTools(config: BoxConfig, env: NodeJS.ProcessEnv): Promise<void> {
  const [uid, gid] = [Number(env['SUDO_UID']), Number(env['SUDO_GID'])]
  if (uid > 0 && gid >= 0) await giveTo(`${uid}:${gid}`, config.cacheDir)
}

async function giveTo(owner: string, directory: string): Promise<void> {
  await execa('chown', ['--recursive', '--no-dereference', owner, directory])
}
