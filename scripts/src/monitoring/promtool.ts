import { execa } from 'execa'
import { ActionableError } from 'shared/errors'

/**
 * Runs promtool.
 *
 * @returns whether it succeeded, and its whole output
 * @throws ActionableError when it is not installed
 */
export async function runPromtool(args: readonly string[]): Promise<{ passed: boolean; output: string }> {
  const { failed, all, code } = await execa('promtool', args, { all: true, reject: false })
  if (code === 'ENOENT') {
    throw new ActionableError(
      'promtool is not installed',
      "install Debian's package prometheus, for example with `make test ONLY=tools`",
    )
  }
  return { passed: !failed, output: all }
}
