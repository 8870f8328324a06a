/**
 * The bootstrap stack creates the bucket of the states, also of its own. Its first apply keeps the state in a file, and
 * moves it into the bucket at the end.
 */
import { existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { type FirstState, run, type Stack } from './terraform.ts'

/**
 * Makes Terraform use the file, if the state belongs there: before there is a bucket, and after a first apply that was
 * interrupted.
 *
 * @returns whether it does
 */
export async function useFirstState(
  { file, override }: FirstState,
  bucketExists: () => Promise<boolean>,
): Promise<boolean> {
  const isFirst = existsSync(file) || !(await bucketExists())
  if (isFirst) {
    await writeFile(
      override,
      `terraform {\n  backend "local" {\n    path = ${JSON.stringify(file)}\n  }\n}\n`,
    )
  } else await rm(override, { force: true })
  return isFirst
}

/**
 * Moves the state into the bucket. If it is interrupted, the next apply repeats it.
 *
 * @throws ActionableError when Terraform cannot copy it.
 */
export async function moveFirstState(stack: Stack, { file, override, backend }: FirstState): Promise<void> {
  await rm(override, { force: true })
  await run(stack, ['init', '-no-color', '-migrate-state', '-force-copy', ...backend])
  for (const path of [file, `${file}.backup`]) await rm(path, { force: true })
}
