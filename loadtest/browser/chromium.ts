import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'
import { ActionableError } from 'shared/errors'

/**
 * Starts the Chromium or Chrome in the PATH.
 *
 * @throws ActionableError when there is none
 */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: findBrowser(),
    // Chromium's sandbox does not work for root.
    chromiumSandbox: process.getuid?.() !== 0,
  })
}

function findBrowser(): string {
  const names = ['chromium', 'chromium-browser', 'google-chrome']
  const directories = (process.env['PATH'] ?? '').split(delimiter)
  const found = names
    .flatMap((name) => directories.map((directory) => join(directory, name)))
    .find((path) => existsSync(path))
  if (found === undefined) {
    throw new ActionableError('Chromium is not installed', 'install it: `apt-get install chromium`')
  }
  return found
}
