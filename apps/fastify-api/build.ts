/** Bundles the service into files that run without node_modules. */
import { cpSync, globSync, rmSync, writeFileSync } from 'node:fs'
import { build, type Plugin } from 'esbuild'

/**
 * Loads Node's own modules with `require`. An ES import of `node:http` reads all of the module's properties, which
 * loads undici (fetch, WebSocket): a tenth of the start, for code that the service never runs.
 */
const requireBuiltins: Plugin = {
  name: 'require-builtins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === 'import-statement' ? { path, namespace: 'builtin' } : { path, external: true },
    )
    onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)})`,
    }))
  },
}

rmSync('dist', { recursive: true, force: true })
await build({
  // Plugins and routes are files of their own, so that the bundle finds them as the source does. What several of
  // them use is in one chunk, and what is only loaded on demand (driver, traces) in another.
  entryPoints: [
    'src/server.ts',
    'src/migrate.ts',
    ...globSync('src/{plugins/*,routes}/*.ts').filter((file) => !file.endsWith('.test.ts')),
  ],
  outdir: 'dist',
  outbase: 'src',
  splitting: true,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  // A sixth less CPU time to load. Names and short lines stay, for stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 120,
  // Dependencies that are CommonJS call require() for Node's own modules; an ES module has none.
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
  },
  // Part of `pg`, which uses it where it is installed.
  external: ['pg-native'],
  plugins: [requireBuiltins],
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'info',
})
writeFileSync('dist/package.json', '{ "type": "module" }\n')
cpSync('migrations', 'dist/migrations', { recursive: true })
