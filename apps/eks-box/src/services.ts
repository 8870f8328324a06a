import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { execa } from 'execa'

/**
 * Runs an installation whose packages bring services of their own, and keeps those off. Debian starts and
 * enables them while a package is configured; the box runs programs of its own, so none may run beside them.
 * Nothing of what keeps them off stays: whoever wants one for something else simply enables it.
 *
 * @param services names of the services that the installation brings.
 * @param root the file system that is installed to.
 */
export async function withServicesOff(
  services: readonly string[],
  install: () => Promise<void>,
  env = process.env,
  root = '/',
): Promise<void> {
  const run = execa({ env, extendEnv: false })
  const systemd = existsSync(join(root, 'run/systemd/system'))
  const units = services.map((name) => `${name}.service`)
  const undo: (() => Promise<unknown>)[] = []
  try {
    if (systemd && units.length > 0) {
      undo.push(() => run('systemctl', ['unmask', '--runtime', ...units]))
      // Masked, a unit cannot be started by anything.
      await run('systemctl', ['mask', '--runtime', ...units])
    }
    if (!systemd && services.length > 0) {
      // Debian's policy for machines without systemd: 101 forbids what a package wants to do to a service.
      const policy = join(root, 'usr/sbin/policy-rc.d')
      if (!existsSync(policy)) {
        undo.push(() => rm(policy, { force: true }))
        await writeFile(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
      }
    }
    if (services.includes('postgresql')) {
      // Besides its service, the server's package makes a database of its own.
      const file = join(root, 'etc/postgresql-common/createcluster.d/eks-box.conf')
      undo.push(() => rm(file, { force: true }))
      await mkdir(dirname(file), { recursive: true })
      await writeFile(file, 'create_main_cluster = false\n')
    }
    await install()
  } finally {
    for (const step of undo) await step()
  }
  if (systemd && units.length > 0) await run('systemctl', ['disable', ...units])
  if (systemd) return
  for (const name of services) {
    if (existsSync(join(root, 'etc/init.d', name))) await run('update-rc.d', [name, 'disable'])
  }
}
