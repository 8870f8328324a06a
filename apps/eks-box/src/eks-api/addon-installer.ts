import type { Addon } from './model.ts'

/** Installs add-ons in the cluster. Add-ons whose programs run elsewhere, or not at all, need no installation. */
export interface AddonInstaller {
  /**
   * Installs an add-on, or updates it to its version. The installation can be repeated.
   *
   * @throws Error with the reason when its pods are not available within seconds.
   */
  install: (addon: Pick<Addon, 'addonName' | 'addonVersion'>) => Promise<void>
  /** Removes an add-on's objects, if there are any. */
  remove: (addonName: string) => Promise<void>
}
