import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { ActionableError, rootCause } from 'shared/errors'
import { builtProgram } from 'shared/tools'
import { librariesOf, pushProgram } from './program.ts'

/**
 * The programs beside k6 that the load test's pods run, which every Debian has, by their paths in the image. Grafana's
 * image has those of BusyBox.
 */
const programs: Readonly<Record<string, string>> = {
  '/bin/sh': '/bin/dash',
  '/bin/date': '/bin/date',
  '/bin/sleep': '/bin/sleep',
  '/usr/bin/awk': '/usr/bin/mawk',
}

/**
 * Pushes an image with the box's k6 to the box's registry, because the box has no internet access.
 *
 * @param name name of the published image, with registry and tag.
 * @returns the reference of the pushed image.
 * @throws ActionableError when k6 is not built, or the box is not running.
 */
export async function pushK6Image(config: BoxConfig, name: string): Promise<string> {
  const k6 = builtProgram(config, 'k6')
  const root = await mkdtemp(join(tmpdir(), 'k6-'))
  try {
    const libraries = (await Promise.all(Object.values(programs).map(librariesOf))).flat()
    const files = { ...programs, ...Object.fromEntries(libraries.map((path) => [path, path])) }
    for (const [path, file] of Object.entries({ ...files, '/usr/bin/k6': k6 })) {
      const target = join(root, path)
      await mkdir(dirname(target), { recursive: true })
      // The image contains the file.
      await symlink(file, target)
    }
    return await pushProgram(config, {
      name,
      directory: root,
      program: 'usr/bin/k6',
      files: Object.keys(files).map((path) => path.slice(1)),
    })
  } catch (error) {
    if (error instanceof ActionableError) throw error
    throw new ActionableError(
      `the image of k6 cannot be pushed to the box's registry: ${rootCause(error)}`,
      'check the box with `make status`, then run the command again',
      { cause: error },
    )
  } finally {
    await rm(root, { recursive: true })
  }
}
