import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { toolDirectory } from 'shared/tools'
import { ADDON_REGISTRY } from '../cluster.ts'
import type { AddonInstaller } from '../eks-api/addon-installer.ts'
import { writeImage } from '../images/layout.ts'
import { pushImage } from '../images/push.ts'
import { boxPaths } from '../state-directory.ts'

/**
 * The add-ons that run as pods, and the user of each image. The manifest, the Deployment, the tool and its program have
 * the name of the add-on.
 */
const users = {
  // Root without any capability but the one for port 53, which only files with attributes could give to another user.
  coredns: '0:0',
  'metrics-server': '65534:65534',
} as const

type WorkloadName = keyof typeof users

const isWorkload = (name: string): name is WorkloadName => name in users

const manifests = join(import.meta.dirname, '..', '..', 'manifests', 'addons')

export interface AddonWorkloadsOptions {
  config: BoxConfig
  /** URL of the box's registry. */
  registry: string
  /** Runs kubectl as administrator and returns its output. */
  kubectl: (...args: string[]) => Promise<string>
}

/** Runs CoreDNS and metrics-server as pods, as EKS does. Their images contain the programs that the box has built. */
export class AddonWorkloads implements AddonInstaller {
  readonly #options: AddonWorkloadsOptions
  readonly #pushed = new Set<string>()

  constructor(options: AddonWorkloadsOptions) {
    this.#options = options
  }

  async install({ addonName, addonVersion }: { addonName: string; addonVersion: string }): Promise<void> {
    if (!isWorkload(addonName)) return
    const { kubectl } = this.#options
    const file = await this.#render(addonName, await this.#pushImage(addonName, addonVersion))
    await kubectl('apply', '--server-side', '--force-conflicts', '--field-manager=eks', `--filename=${file}`)
    const deployment = ['--namespace=kube-system', `deployment/${addonName}`]
    await kubectl('rollout', 'status', ...deployment, '--timeout=5s')
  }

  async remove(addonName: string): Promise<void> {
    if (!isWorkload(addonName)) return
    const file = join(manifests, `${addonName}.yaml`)
    await this.#options.kubectl('delete', '--ignore-not-found', '--wait=false', '--filename', file)
  }

  /** Pushes the image of an add-on, once in the life of this process, and returns its name. */
  async #pushImage(addonName: WorkloadName, version: string): Promise<string> {
    const { config, registry } = this.#options
    const name = `${ADDON_REGISTRY}/eks/${addonName}:${version}`
    if (this.#pushed.has(name)) return name
    const layout = join(boxPaths(config).run, 'images', addonName)
    await writeImage(layout, name, toolDirectory(config, addonName), addonName, users[addonName])
    await pushImage(registry, layout)
    await rm(layout, { recursive: true })
    this.#pushed.add(name)
    return name
  }

  /** Writes the manifest of an add-on with its image, and returns the path. */
  async #render(addonName: WorkloadName, image: string): Promise<string> {
    const directory = join(boxPaths(this.#options.config).run, 'addons')
    await mkdir(directory, { recursive: true })
    const file = join(directory, `${addonName}.yaml`)
    const manifest = await readFile(join(manifests, `${addonName}.yaml`), 'utf8')
    await writeFile(file, manifest.replace(': ADDON_IMAGE', `: ${image}`))
    return file
  }
}
