#!/usr/bin/env node
/**
 * Opens the dashboards in a Grafana that has them, and writes a picture of each. Fails if a panel shows an error. See
 * docs/monitoring.md.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { launchChromium } from 'loadtest/chromium'
import { REPOSITORY_ROOT } from 'shared/environment'
import { ActionableError, reportFailure } from 'shared/errors'

interface Options {
  grafana: string
  from: string
  to: string
  output: string
}

const program = new Command('screenshot-dashboards')
  .description('Writes a picture of each dashboard in a Grafana, and fails if a panel shows an error.')
  .option('--grafana <url>', 'a Grafana without login', 'http://localhost:3001')
  .option('--from <time>', 'as in a URL of Grafana: now-1h, or milliseconds', 'now-30m')
  .option('--to <time>', 'as --from', 'now')
  .option('--output <directory>', 'for the pictures', join(REPOSITORY_ROOT, 'docs/images'))

/** In Grafana 10.0 the second, and from 10.2 the first: package @grafana/e2e-selectors. */
const ERROR = '[data-testid="data-testid Panel status error"], [aria-label="Panel status"]'
const LOADING = '[aria-label="Panel loading bar"]'

/** Panels load only when they are visible, so all of them must fit. */
const TALL = { width: 1280, height: 6_000 }

async function screenshot({ grafana, from, to, output }: Options): Promise<void> {
  const dashboards = await findDashboards(grafana)
  mkdirSync(output, { recursive: true })
  const failures: string[] = []
  const browser = await launchChromium()
  try {
    for (const { uid, title, url } of dashboards) {
      const page = await browser.newPage({ viewport: TALL })
      // A busy machine needs longer than the default of 30 s.
      page.setDefaultTimeout(120_000)
      await page.goto(`${grafana}${url}?${new URLSearchParams({ from, to, theme: 'light' })}&kiosk`)
      const grid = page.locator('.react-grid-layout')
      await grid.waitFor()
      await page.waitForLoadState('networkidle')
      await page.locator(LOADING).first().waitFor({ state: 'detached' })
      const errors = await page.locator(ERROR).count()
      if (errors > 0) failures.push(`panels with errors in ${title}: ${errors}`)
      const area = await grid.boundingBox()
      const height = area === null ? TALL.height : Math.ceil(area.y + area.height)
      const path = join(output, `dashboard-${uid}.png`)
      await page.screenshot({ path, clip: { x: 0, y: 0, width: TALL.width, height } })
      console.log(path)
      await page.close()
    }
  } finally {
    await browser.close()
  }
  if (failures.length > 0) {
    throw new ActionableError(failures.join('; '), `open ${grafana} and look at the marks of these panels`)
  }
}

/** The dashboards with this project's tag. */
async function findDashboards(grafana: string): Promise<{ uid: string; title: string; url: string }[]> {
  const nextStep = 'name a Grafana that has them and needs no login: `docker compose up --wait` starts one'
  const response = await fetch(`${grafana}/api/search?tag=fastify-app`).catch((cause: unknown) => {
    throw new ActionableError(`${grafana} does not answer`, nextStep, { cause })
  })
  if (!response.ok) throw new ActionableError(`${grafana} answers ${response.status}`, nextStep)
  const dashboards = (await response.json()) as { uid: string; title: string; url: string }[]
  if (dashboards.length === 0)
    throw new ActionableError(`${grafana} has no dashboards of this project`, nextStep)
  return dashboards
}

try {
  await screenshot(program.parse().opts<Options>())
} catch (error) {
  reportFailure(error)
}
