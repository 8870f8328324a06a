import {
  type ComparedRow,
  type Comparison,
  describeAutoscaler,
  type Effect,
  FLOORS,
  formatVerdictValues,
  letter,
  listMarked,
  MARKING_RULE,
} from './compare.ts'
import { FIGURES, formatFigure, formatMoment, formatNumber, formatQuantity } from './figures.ts'
import {
  drawEvents,
  drawPanel,
  type Line,
  listMissingPanels,
  nameEventKind,
  type Panel,
  PLOT_MARGINS,
  PLOT_WIDTH,
  planComparedPanels,
  planRunPanels,
  type TimeAxis,
} from './html-report-charts.ts'
import { embedJson, page } from './html-report-page.ts'
import { Html, html } from './html-template.ts'
import type { RunReport, Series } from './run-report.ts'

/** Above this share of its cores, the load generator itself may delay requests. */
const BUSY_GENERATOR = 0.8

/**
 * Renders the report of a run as a page that needs no other file and no network.
 *
 * @param name name of the run's file, for the download.
 */
export function renderRun(run: RunReport, name: string): string {
  const { profile, description, startedAt, events, scaling, loadSeconds, seconds } = run
  const axis: TimeAxis = {
    end: axisEnd([run]),
    events,
    missed:
      scaling === null || scaling.sloViolatedSecond === null
        ? null
        : { from: scaling.sloViolatedSecond, to: scaling.sloHoldsAgainSecond ?? loadSeconds },
  }
  const panels = planRunPanels(run)
  const header = html`
<h1>Load test ${profile}</h1>
<p>${description}</p>
${renderOverall(run)}
<dl class="facts">
<dt>Started</dt><dd><time datetime="${startedAt}">${startedAt.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}</time></dd>
<dt>Environment</dt><dd>${run.environment}</dd>
<dt>Target</dt><dd>${run.baseUrl}</dd>
<dt>Load</dt><dd>${formatMoment(loadSeconds)} of load, ${formatMoment(seconds)} recorded (minutes:seconds)</dd>
<dt>Autoscaler</dt><dd>${describeAutoscaler(run)}</dd>
</dl>`
  const main = html`
${renderVerdicts(run)}
${renderFigures(run)}
${renderCharts(panels, axis, [run])}
${renderNotMeasured(listMissingPanels(run))}
${renderEvents(run)}
${renderFailures(run)}
${renderGenerator(run)}
<section class="data" aria-labelledby="data"><h2 id="data">Data</h2>
${renderData(run, 'All values of the charts')}
${renderDownload(0, name)}
</section>
${embedJson('runs', [run])}`
  return page(`Load test ${profile}, ${startedAt}`, header, main)
}

/** Renders a comparison of runs as a page that needs no other file and no network. */
export function renderComparison(comparison: Comparison): string {
  const runs = comparison.runs.map(({ run }) => run)
  const names = comparison.runs.map(({ name }) => name)
  const panels = planComparedPanels(
    comparison.runs.map(({ name, run }, index) => ({ label: `${letter(index)}: ${name}`, run })),
  )
  const header = html`
<h1>Load tests compared</h1>
<dl class="facts">${comparison.runs.map(
    ({ name, run }, index) =>
      html`<dt>${letter(index)}</dt><dd><strong>${name}</strong>: ${run.profile}, started ${run.startedAt}</dd>`,
  )}</dl>
<p>Each run is compared with A.</p>`
  const main = html`
${renderMarked(comparison)}
<section aria-labelledby="compared"><h2 id="compared">Side by side</h2>
${renderCompared('Conditions', 'What the runs should have in common', names, comparison.conditions, 'words')}
${renderCompared('SLO', 'Measured values against the SLOs', names, comparison.verdicts)}
${renderCompared('Figure', 'Key figures', names, comparison.figures)}
<p class="quiet">${MARKING_RULE} Floors: ${FLOORS}.</p>
</section>
${renderCharts(panels, { end: axisEnd(runs), events: [], missed: null }, runs)}
<section class="data" aria-labelledby="data"><h2 id="data">Data</h2>
${comparison.runs.map(
  ({ name, run }, index) => html`${renderData(run, `All values of ${letter(index)}, ${name}`)}
${renderDownload(index, name)}`,
)}
</section>
${embedJson('runs', runs)}`
  return page(`Load tests compared: ${names.join(', ')}`, header, main)
}

/** Where the common time axis of the runs ends: at the end of the longest recording. */
function axisEnd(runs: readonly RunReport[]): number {
  return Math.max(
    1,
    ...runs.flatMap(({ seconds, loadSeconds, interrupted, series }) => [
      seconds,
      interrupted ? 0 : loadSeconds,
      series.second.at(-1) ?? 0,
    ]),
  )
}

function renderOverall({ verdicts, interrupted }: RunReport): Html {
  if (interrupted) return html`<p class="verdict differs">Interrupted: no verdict</p>`
  const missed = verdicts.filter(({ met }) => !met).length
  if (verdicts.length === 0) return html`<p class="verdict differs">No SLO was checked</p>`
  return missed === 0
    ? html`<p class="verdict good">✓ All ${verdicts.length} SLOs met</p>`
    : html`<p class="verdict bad">✗ ${missed} of ${verdicts.length} SLOs missed</p>`
}

function renderVerdicts({ verdicts }: RunReport): Html | null {
  if (verdicts.length === 0) return null
  const rows = verdicts.map((verdict) => {
    const { measured, bound } = formatVerdictValues(verdict)
    return html`<tr><th scope="row">${verdict.name}</th><td class="number">${measured}</td><td class="number">${bound}</td>
<td>${verdict.met ? html`<span class="good">✓ met</span>` : html`<span class="bad">✗ missed</span>`}</td></tr>`
  })
  return html`<section aria-labelledby="slos"><h2 id="slos">Service level objectives</h2>
<div class="scroll"><table><caption>Measured values against the SLOs, over the whole load</caption>
<thead><tr><th scope="col">SLO</th><th scope="col" class="number">measured</th><th scope="col" class="number">bound</th><th scope="col">result</th></tr></thead>
<tbody>${rows}</tbody></table></div></section>`
}

function renderFigures(run: RunReport): Html {
  const groups = ['Requests', 'Scaling', 'Cost'] as const
  return html`<section aria-labelledby="figures"><h2 id="figures">Key figures</h2>
<p class="quiet">Moments count from the first request.</p>
${groups
  .filter((group) => group === 'Requests' || run.scaling !== null)
  .map((group) => {
    const figures = FIGURES.filter((figure) => figure.group === group)
    return html`<h3>${group}</h3><dl class="figures">${figures.map((figure) => {
      const words = figure.value(run) === null ? ' class="words"' : ''
      return html`<div><dt>${figure.name}</dt><dd${new Html(words)}>${formatFigure(figure, run)}</dd></div>`
    })}</dl>`
  })}</section>`
}

/** Renders all charts with the control that selects a moment. */
function renderCharts(panels: readonly Panel[], axis: TimeAxis, runs: readonly RunReport[]): Html {
  const step = Math.min(...runs.map(({ series }) => series.stepSeconds))
  const lines = panels.flatMap((panel) => panel.lines)
  const data = {
    ...PLOT_MARGINS,
    width: PLOT_WIDTH,
    end: axis.end,
    step,
    lines: Object.fromEntries(
      lines.map(({ id, run, unit, digits, points }) => [
        id,
        { run, unit, digits, values: points.map(({ value }) => value && Number(value.toPrecision(6))) },
      ]),
    ),
    events: axis.events.map(({ second, text }) => ({ second, text })),
  }
  const shade = axis.missed === null ? null : html` The shaded time is outside the SLO.`
  const marks = axis.events.length === 0 ? null : html` Thin vertical lines mark the events.`
  return html`<section aria-labelledby="timeline"><h2 id="timeline">Timeline</h2>
<p class="quiet">All charts have the same time axis, in minutes and seconds since the first request.${marks}${shade}</p>
<div id="charts">
<div class="control" id="moment-control" hidden>
<label for="moment">Values at a moment: move the pointer over a chart, or use the arrow keys</label>
<input type="range" id="moment" min="0" max="${axis.end}" step="${step}" value="0">
<p id="moment-text"></p>
</div>
${
  axis.events.length === 0
    ? null
    : html`<figure><figcaption><h3>Events</h3></figcaption><div class="scroll">${drawEvents(axis)}</div></figure>`
}
${panels.map(
  (panel) => html`<figure><figcaption><h3>${panel.title} <small>${panel.unit}</small></h3>
<ul class="legend">${panel.lines.map(renderLegend)}</ul></figcaption>
<div class="scroll">${drawPanel(panel, axis)}</div></figure>
`,
)}
</div>
${embedJson('chart-data', data)}
</section>`
}

function renderLegend({ id, label, style, peak, digits, unit }: Line): Html {
  const most = formatQuantity(peak.value, { digits, unit })
  return html`<li><svg aria-hidden="true" viewBox="0 0 28 10"><path class="line ${style}" d="M1,5H27"/></svg>${label} <b class="now" data-line="${id}" data-name="${label}"></b> <span class="peak">max ${most}</span></li>`
}

function renderNotMeasured(titles: readonly string[]): Html | null {
  if (titles.length === 0) return null
  return html`<p class="quiet">Not measured in this run: ${titles.join(', ')}.</p>`
}

function renderEvents({ events }: RunReport): Html | null {
  if (events.length === 0) return null
  return html`<section aria-labelledby="events"><h2 id="events">Events</h2>
<div class="scroll"><table><caption>What happened, in order of time</caption>
<thead><tr><th scope="col" class="number">time</th><th scope="col">kind</th><th scope="col">event</th></tr></thead>
<tbody>${events.map(
    ({ second, kind, text }) =>
      html`<tr><td class="number">${formatMoment(second)}</td><td>${nameEventKind(kind)}</td><td>${text}</td></tr>`,
  )}</tbody></table></div></section>`
}

function renderFailures({ summary }: RunReport): Html {
  const { requests, failed, failures, checksFailed } = summary
  const table = (caption: string, column: string, counts: Record<string, number>) => {
    const entries = Object.entries(counts).sort(([, a], [, b]) => b - a)
    if (entries.length === 0) return null
    return html`<div class="scroll"><table><caption>${caption}</caption>
<thead><tr><th scope="col">${column}</th><th scope="col" class="number">times</th></tr></thead>
<tbody>${entries.map(
      ([cause, count]) =>
        html`<tr><th scope="row">${cause}</th><td class="number">${formatNumber(count, 0)}</td></tr>`,
    )}</tbody></table></div>`
  }
  return html`<section aria-labelledby="failures"><h2 id="failures">Failures</h2>
<p>${formatNumber(failed, 0)} of ${formatNumber(requests, 0)} requests failed.${
    Object.keys(checksFailed).length === 0 ? ' No check failed.' : null
  }</p>
${table('Failed requests by cause', 'cause', failures)}
${table('Failed checks', 'check', checksFailed)}
</section>`
}

function renderGenerator({ generator, summary }: RunReport): Html {
  const { cpuShare } = generator
  const dropped = summary.droppedIterations
  const share =
    cpuShare === null
      ? 'Its CPU time was not measured.'
      : `It used ${formatNumber(cpuShare * 100, 0)} % of its CPU time.`
  const conclusion =
    dropped > 0 || (cpuShare ?? 0) > BUSY_GENERATOR
      ? html`<strong class="bad">The generator, or the number of its virtual users, may have limited the load.</strong>`
      : cpuShare === null
        ? null
        : 'The generator did not limit the load.'
  return html`<section aria-labelledby="generator"><h2 id="generator">Load generator</h2>
<p>It dropped ${formatNumber(dropped, 0)} iterations. ${share} ${conclusion}</p></section>`
}

const DATA_COLUMNS: readonly {
  column: Exclude<keyof Series, 'stepSeconds'>
  heading: string
  digits: number
}[] = [
  { column: 'rate', heading: 'requests/s', digits: 1 },
  { column: 'failed', heading: 'failed', digits: 0 },
  { column: 'dropped', heading: 'dropped', digits: 0 },
  { column: 'p50Ms', heading: 'p50 ms', digits: 0 },
  { column: 'p95Ms', heading: 'p95 ms', digits: 0 },
  { column: 'p99Ms', heading: 'p99 ms', digits: 0 },
  { column: 'replicasWanted', heading: 'replicas wanted', digits: 0 },
  { column: 'replicasReady', heading: 'ready', digits: 0 },
  { column: 'podsPending', heading: 'pending', digits: 0 },
  { column: 'nodes', heading: 'nodes', digits: 0 },
  { column: 'karpenterNodes', heading: "Karpenter's", digits: 0 },
  { column: 'cpuPercent', heading: 'CPU %', digits: 0 },
  { column: 'eventLoopUtilization', heading: 'event loop', digits: 2 },
]

function renderData({ series }: RunReport, title: string): Html {
  return html`<details><summary>${title}</summary>
<div class="scroll" tabindex="0" role="region" aria-label="${title}"><table>
<caption>A row each ${series.stepSeconds} s; – where nothing was measured; failed and dropped count within the row's step</caption>
<thead><tr><th scope="col" class="number">time</th>${DATA_COLUMNS.map(
    ({ heading }) => html`<th scope="col" class="number">${heading}</th>`,
  )}</tr></thead>
<tbody>${series.second.map(
    (second, row) =>
      html`<tr><th scope="row" class="number">${formatMoment(second)}</th>${DATA_COLUMNS.map(
        ({ column, digits }) => {
          const value = series[column][row] ?? null
          return html`<td class="number">${value === null ? '–' : formatNumber(value, digits)}</td>`
        },
      )}</tr>
`,
  )}</tbody></table></div></details>`
}

function renderDownload(index: number, name: string): Html {
  return html`<p><button type="button" data-run="${index}" data-download="${name}.json" hidden>Save ${name}.json</button></p>`
}

const EFFECTS: Record<Effect, { symbol: string; style: string }> = {
  better: { symbol: '▲', style: 'good' },
  worse: { symbol: '▼', style: 'bad' },
  different: { symbol: '≠', style: 'differs' },
}

function renderEffect(effect: Effect): Html {
  const { symbol, style } = EFFECTS[effect]
  return html`<span class="${style}">${symbol} ${effect}</span>`
}

function renderMarked(comparison: Comparison): Html {
  const marked = listMarked(comparison)
  return html`<section aria-labelledby="marked"><h2 id="marked">Differences that matter</h2>
${
  marked.length === 0
    ? html`<p>None.</p>`
    : html`<ul>${marked.map(({ effect, text }) => html`<li>${renderEffect(effect)} ${text}</li>`)}</ul>`
}</section>`
}

function renderCompared(
  title: string,
  caption: string,
  names: readonly string[],
  rows: readonly ComparedRow[],
  align: 'number' | 'words' = 'number',
): Html {
  const headings = names.map(
    (name, index) =>
      html`<th scope="col" class="${align}"><abbr title="${name}">${letter(index)}</abbr></th>`,
  )
  const others = names.slice(1).map((_, index) => html`<th scope="col">${letter(index + 1)} against A</th>`)
  return html`<div class="scroll"><table class="compared"><caption>${caption}</caption>
<thead><tr><th scope="col">${title}</th>${headings}${others}</tr></thead>
<tbody>${rows.map(({ name, cells }) => {
    const marked = cells.some(({ effect }) => effect !== null)
    return html`<tr${new Html(marked ? ' class="marked"' : '')}><th scope="row">${name}</th>${cells.map(
      ({ text }) => html`<td class="${align}">${text}</td>`,
    )}${cells
      .slice(1)
      .map(
        ({ difference, effect }) =>
          html`<td>${effect === null ? null : html`${renderEffect(effect)} `}${difference}</td>`,
      )}</tr>
`
  })}</tbody></table></div>`
}
