#!/usr/bin/env node
/** Renders the diagrams of the documentation, `docs/images/*.dot`, as SVG. A test fails if one is not up to date. */
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Graphviz } from '@hpcc-js/wasm-graphviz'
import { REPOSITORY_ROOT } from 'shared/environment'
import { reportFailure } from 'shared/errors'

/** Styles the classes of the sources. The colours follow the reader's light or dark setting. */
const STYLE = `
svg {
  --page: #ffffff; --text: #1f2328; --line: #59636e; --box: #ffffff; --area: #f6f8fa; --border: #d1d9e0;
  --request: #0969da; --scaling: #bc4c00; --deploy: #1a7f37;
}
@media (prefers-color-scheme: dark) {
  svg {
    --page: #0d1117; --text: #e6edf3; --line: #9198a1; --box: #0d1117; --area: #151b23; --border: #3d444d;
    --request: #58a6ff; --scaling: #f0883e; --deploy: #56d364;
  }
}
text { font-family: Arial, Helvetica, 'Liberation Sans', sans-serif; fill: var(--text); }
.graph > polygon { fill: var(--page); }
.node > path { fill: var(--box); stroke: var(--line); }
.node.area > path { fill: var(--area); stroke: var(--border); }
.node.area > text { fill: var(--line); }
.node.service > path { stroke: var(--request); stroke-width: 2.5; }
.node.optional > path { stroke-dasharray: 4 3; }
.edge > path { stroke-width: 1.5; stroke: var(--color); }
.edge > polygon { fill: var(--color); stroke: none; }
.edge > text { fill: var(--color); stroke: var(--area); stroke-width: 4px; paint-order: stroke; }
.node:is(.request, .scaling, .deploy) > text { fill: var(--color); }
.request { --color: var(--request); }
.scaling { --color: var(--scaling); }
.deploy { --color: var(--deploy); }
`

/** The rendered diagrams: their content by their path in the repository. */
export async function renderedDiagrams(): Promise<ReadonlyMap<string, string>> {
  const graphviz = await Graphviz.load()
  const sources = globSync('docs/images/*.dot', { cwd: REPOSITORY_ROOT }).sort()
  return new Map(
    sources.map((source) => {
      const dot = readFileSync(join(REPOSITORY_ROOT, source), 'utf8')
      return [source.replace(/\.dot$/, '.svg'), withStyle(graphviz.neato(dot, 'svg'))]
    }),
  )
}

function withStyle(svg: string): string {
  return svg
    .slice(svg.indexOf('<svg'))
    .replaceAll(/<!--.*?-->\n?/gs, '')
    .replace(/<svg[^>]*>/, (tag) => `${tag}\n<style>${STYLE}</style>`)
}

if (import.meta.main) {
  renderedDiagrams()
    .then((diagrams) => {
      for (const [path, svg] of diagrams) writeFileSync(join(REPOSITORY_ROOT, path), svg)
    })
    .catch(reportFailure)
}
