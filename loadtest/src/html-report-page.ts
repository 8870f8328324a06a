import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PLOT_MARGINS, PLOT_WIDTH } from './html-report-charts.ts'
import { Html, html } from './html-template.ts'

const asset = (name: string) => readFileSync(join(import.meta.dirname, name), 'utf8')

/** The program of the page, which shows the values at a moment and saves the embedded JSON. */
const script = asset('html-report-browser.js')

/** The style sheet. The slider must cover exactly the charts' time axis. */
const style = `${asset('html-report.css')}
:root { --axis-left: ${percent(PLOT_MARGINS.left)}; --axis-right: ${percent(PLOT_MARGINS.right)}; }
`

function percent(pixels: number): string {
  return `${((pixels / PLOT_WIDTH) * 100).toFixed(3)}%`
}

/**
 * Only the style sheet and the program of this file may run or load. So a report can request nothing, and text of a run
 * that looks like HTML could do no harm even if it were not escaped.
 */
const contentSecurityPolicy = [
  "default-src 'none'",
  `style-src ${hash(style)}`,
  `script-src ${hash(script)}`,
  "base-uri 'none'",
  "form-action 'none'",
].join('; ')

function hash(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}

/** A complete page, which needs no other file. */
export function page(title: string, header: Html, main: Html): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${contentSecurityPolicy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="fastify-eks load test">
<title>${title}</title>
<style>${new Html(style)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header>${header}</header>
<main id="main" tabindex="-1">${main}</main>
<script>${new Html(script)}</script>
</body>
</html>
`.text
}

/** Embeds data, which the page's program reads and which stays readable for other programs. */
export function embedJson(id: string, data: unknown): Html {
  // `<` could end the element. In JSON it only occurs in strings, where the escape has the same meaning.
  const text = JSON.stringify(data).replaceAll('<', '\\u003c')
  return new Html(`<script type="application/json" id="${id}">${text}</script>`)
}
