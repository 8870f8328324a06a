/** Opens the reports in Chromium, from file://. `SCREENSHOTS=docs` renews the screenshots of the documents. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { AxeResults } from 'axe-core'
import type { BrowserContextOptions, Locator, Page } from 'playwright-core'
import { REPOSITORY_ROOT } from 'shared/environment'
import t, { type Test } from 'tap'
import { compareRuns } from '../src/compare.ts'
import { renderComparison, renderRun } from '../src/html-report.ts'
import type { RunReport } from '../src/run-report.ts'
import { launchChromium } from './chromium.ts'

const fixture = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../fixtures', `${name}.json`), 'utf8')) as RunReport
const cpu = fixture('spike-cpu')
const requests = fixture('spike-requests')

const pages = {
  run: renderRun(cpu, 'spike-cpu'),
  comparison: renderComparison(
    compareRuns([
      { name: 'spike-cpu', run: cpu },
      { name: 'spike-requests', run: requests },
    ]),
  ),
}

const screenshots = join(import.meta.dirname, '../results/screenshots')
mkdirSync(screenshots, { recursive: true })

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8')

const browser = await launchChromium()
t.teardown(() => browser.close())

/** Opens a page and uses it. The test fails if the page logs an error or requests anything but itself. */
async function visit(
  t: Test,
  html: string,
  options: BrowserContextOptions,
  use: (page: Page) => Promise<void>,
): Promise<void> {
  const directory = t.testdir({ 'report.html': html })
  const url = pathToFileURL(join(directory, 'report.html')).href
  const context = await browser.newContext({ viewport: { width: 1120, height: 900 }, ...options })
  t.teardown(() => context.close())
  // A busy machine needs longer than the default of 30 s.
  context.setDefaultTimeout(120_000)
  const page = await context.newPage()
  const problems: string[] = []
  page.on('console', (message) => problems.push(`console: ${message.text()}`))
  page.on('pageerror', (error) => problems.push(`error: ${error.message}`))
  page.on('dialog', (dialog) => problems.push(`dialog: ${dialog.message()}`))
  page.on('request', (request) => {
    if (request.url() !== url && !request.url().startsWith('blob:'))
      problems.push(`request: ${request.url()}`)
  })
  await page.goto(url)
  await use(page)
  t.strictSame(problems, [], 'no message on the console, and no request')
}

/** Finds what axe-core considers inaccessible in a part of the page, including contrasts that are too low. */
async function findBarriers(page: Page, selector = ':root'): Promise<string[]> {
  // Through the debugger, because the Content-Security-Policy allows no further script on the page.
  await page.evaluate(axeSource)
  const { violations } = await page.evaluate<AxeResults>(`axe.run('${selector}')`)
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(', ')}`)
}

async function save(name: string, source: Page | Locator): Promise<void> {
  const fullPage = 'goto' in source ? { fullPage: true } : {}
  writeFileSync(join(screenshots, `${name}.png`), await source.screenshot(fullPage))
}

/** Renews a screenshot of the documents, if the tests run for that purpose. */
async function renew(name: string, source: Locator): Promise<void> {
  if (process.env['SCREENSHOTS'] !== 'docs') return
  await source.screenshot({ path: join(REPOSITORY_ROOT, 'docs/images', `${name}.png`) })
}

for (const [name, html] of Object.entries(pages)) {
  for (const colorScheme of ['light', 'dark'] as const) {
    t.test(`${name} in ${colorScheme} is accessible`, (t) =>
      visit(t, html, { colorScheme }, async (page) => {
        await save(`${name}-${colorScheme}`, page)
        t.strictSame(await findBarriers(page), [])
      }),
    )
  }

  t.test(`${name} prints in light colours, without controls`, (t) =>
    visit(t, html, { colorScheme: 'dark', viewport: { width: 720, height: 1000 } }, async (page) => {
      await page.emulateMedia({ media: 'print', colorScheme: 'dark' })
      t.equal(await page.evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(255, 255, 255)')
      t.notOk(await page.locator('#moment').isVisible())
      await save(`${name}-print`, page)
      await page.pdf({ format: 'A4', path: join(screenshots, `${name}.pdf`) })
    }),
  )

  t.test(`${name} fits a narrow screen`, (t) =>
    visit(t, html, { viewport: { width: 390, height: 800 } }, async (page) => {
      t.equal(await page.evaluate('document.documentElement.scrollWidth'), 390)
      await save(`${name}-narrow`, page)
    }),
  )
}

t.test('the table of all values is accessible', (t) =>
  visit(t, pages.run, {}, async (page) => {
    await page.locator('summary').click()
    t.ok(await page.getByRole('rowheader', { name: '1:20', exact: true }).isVisible())
    t.strictSame(await findBarriers(page, 'details'), [])
  }),
)

t.test('arrow keys read the values at a moment', (t) =>
  visit(t, pages.run, { viewport: { width: 920, height: 900 } }, async (page) => {
    const slider = page.getByRole('slider')
    const hasFocus = () => slider.evaluate((element) => element.matches(':focus'))
    for (let tabs = 0; tabs < 5 && !(await hasFocus()); tabs++) await page.keyboard.press('Tab')
    t.ok(await hasFocus())
    await page.keyboard.press('Home')
    for (let presses = 0; presses < 17; presses++) await page.keyboard.press('ArrowRight')
    const ready = cpu.series.replicasReady[cpu.series.second.indexOf(85)]
    const spoken = (await slider.getAttribute('aria-valuetext')) ?? ''
    t.match(spoken, /^1:25, finished [\d.]+\/s, /)
    t.ok(spoken.includes(`ready ${ready},`), spoken)
    t.equal(
      await page.locator('#moment-text').textContent(),
      '1:25 · 1:22 the autoscaler wants 4 replicas instead of 2',
    )
    t.equal(await page.locator('[data-line="replicasWanted-0"]').textContent(), '4')
    const positions = await page
      .locator('.cursor')
      .evaluateAll((cursors) => cursors.map((cursor) => cursor.getAttribute('x1')))
    t.equal(new Set(positions).size, 1, 'the cursor is at the same moment in all charts')
    await save('run-at-moment', page.locator('#charts'))
    await slider.blur()
    await renew('load-test-report', page.locator('#charts'))
    await slider.focus()
    await page.keyboard.press('End')
    t.equal(await page.locator('[data-line="rate-0"]').textContent(), '0/s')
  }),
)

t.test('the pointer reads the values at a moment', (t) =>
  visit(t, pages.comparison, {}, async (page) => {
    await renew('load-test-comparison', page.getByRole('region', { name: 'Differences that matter' }))
    const chart = page.getByRole('img', { name: /^Latency p95/ })
    await chart.hover({ position: { x: 200, y: 50 } })
    const slider = page.getByRole('slider')
    t.not(await slider.inputValue(), '0')
    t.match(await page.locator('[data-line="p95Ms-1"]').textContent(), / ms$/)
    await chart.click()
    t.ok(await slider.evaluate((element) => element.matches(':focus')))
  }),
)

t.test('the button saves the run', (t) =>
  visit(t, pages.run, {}, async (page) => {
    const waiting = page.waitForEvent('download')
    await page.getByRole('button', { name: 'Save spike-cpu.json' }).click()
    const download = await waiting
    t.equal(download.suggestedFilename(), 'spike-cpu.json')
    t.strictSame(JSON.parse(readFileSync(await download.path(), 'utf8')), cpu)
  }),
)

t.test('without JavaScript, everything but the controls is there', (t) =>
  visit(t, pages.run, { javaScriptEnabled: false }, async (page) => {
    t.ok(await page.getByRole('img', { name: /^Latency in ms/ }).isVisible())
    t.notOk(await page.locator('#moment').isVisible())
    t.notOk(await page.locator('button').isVisible())
  }),
)

t.test('HTML in a run is text', (t) => {
  const hostile = '</script><script>alert(1)</script><img src=x onerror=alert(2)>'
  const run: RunReport = {
    ...cpu,
    ...{ profile: hostile, description: hostile, baseUrl: `http://x/"${hostile}` },
    summary: { ...cpu.summary, failures: { [hostile]: 3 } },
    events: [{ second: 5, kind: 'problem', text: hostile }],
  }
  return visit(t, renderRun(run, hostile), {}, async (page) => {
    t.equal(await page.locator('script').count(), 3)
    t.equal(await page.locator('img[src]').count(), 0)
    t.equal(await page.getByRole('rowheader', { name: hostile }).count(), 1)
    await page.getByRole('slider').focus()
    await page.keyboard.press('ArrowRight')
    t.equal(await page.locator('#moment-text').textContent(), `0:05 · 0:05 ${hostile}`)
  })
})
