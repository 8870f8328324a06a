import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ConfigError, loadConfig } from './config.ts'
import { Authority } from './testing/certificates.ts'

t.test('every setting has a default or is optional', async (t) => {
  t.match(loadConfig({}), {
    HOST: '0.0.0.0',
    PORT: 3000,
    LOG_LEVEL: 'info',
    DRAIN_DELAY_MS: 5000,
    SHUTDOWN_TIMEOUT_MS: 20_000,
    LOAD_ENDPOINTS_ENABLED: false,
  })
})

t.test('environment variables become numbers and booleans', async (t) => {
  t.match(loadConfig({ PORT: '8080', LOAD_ENDPOINTS_ENABLED: 'true' }), {
    PORT: 8080,
    LOAD_ENDPOINTS_ENABLED: true,
  })
})

const refused: [variable: string, value: string, message: string][] = [
  ['PORT', 'http', 'PORT="http" must be an integer from 0 to 65535'],
  ['PORT', '70000', 'PORT="70000" must be an integer from 0 to 65535'],
  ['LOG_LEVEL', 'loud', 'LOG_LEVEL="loud" must be one of trace, debug, info, warn, error, fatal, silent'],
  ['LOAD_ENDPOINTS_ENABLED', 'perhaps', 'LOAD_ENDPOINTS_ENABLED="perhaps" must be true or false'],
  ['RATE_LIMIT_PER_MINUTE', '-1', 'RATE_LIMIT_PER_MINUTE="-1" must be an integer, 0 or more'],
  // Without the value, which contains a password.
  ['DATABASE_URL', 'mysql://a:secret@b/c', 'DATABASE_URL must be a URL that matches ^postgres(ql)?://'],
  ['HOST', '', 'HOST="" must be a non-empty text'],
]
for (const [variable, value, message] of refused) {
  t.test(`${variable}="${value}" is refused in one line`, async (t) => {
    t.throws(() => loadConfig({ [variable]: value }), new ConfigError(message))
  })
}

t.test('one error names all invalid variables', async (t) => {
  t.throws(() => loadConfig({ PORT: 'x', LOG_LEVEL: 'y' }), { message: /PORT.*; LOG_LEVEL/ })
})

t.test('certificates come from a file or from a variable', async (t) => {
  const { file, pem } = new Authority(t)
  for (const store of ['DATABASE', 'REDIS'] as const) {
    t.match(loadConfig({ [`${store}_CA_FILE`]: file }), { [`${store}_CA`]: pem })
    t.match(loadConfig({ [`${store}_CA`]: pem }), { [`${store}_CA`]: pem })
    t.throws(() => loadConfig({ [`${store}_CA`]: pem, [`${store}_CA_FILE`]: file }), {
      name: 'ConfigError',
      message: `${store}_CA_FILE and ${store}_CA are both set: remove one of them`,
    })
  }
  const bundle = `# two of them\n${pem}\n${readFileSync(file, 'utf8')}`
  t.equal(loadConfig({ DATABASE_CA: bundle }).DATABASE_CA, bundle)
})

t.test('invalid certificates are refused', async (t) => {
  const missing = join(t.testdir(), 'missing.pem')
  t.throws(() => loadConfig({ DATABASE_CA_FILE: missing }), {
    name: 'ConfigError',
    message: new RegExp(`^DATABASE_CA_FILE="${missing}" cannot be used: ENOENT`),
  })
  t.throws(() => loadConfig({ REDIS_CA: 'garbage' }), {
    message: 'REDIS_CA cannot be used: it contains no PEM certificate',
  })
  t.throws(
    () => loadConfig({ REDIS_CA: '-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----' }),
    { name: 'ConfigError', message: /^REDIS_CA cannot be used: ./ },
  )
})

t.test('certificates are refused with a URL that disables verification', async (t) => {
  const { pem } = new Authority(t)
  const database = (query: string) =>
    loadConfig({ DATABASE_URL: `postgres://a:secret@b/c${query}`, DATABASE_CA: pem })
  for (const query of ['?sslmode=disable', '?a=b&sslmode=no-verify', '?ssl=0', '?ssl=false&a=b']) {
    t.throws(() => database(query), {
      name: 'ConfigError',
      message: /^DATABASE_URL disables verification of the server, but .* sslmode=verify-full/,
    })
  }
  for (const query of ['', '?sslmode=verify-full', '?sslmode=require']) t.ok(database(query))
  t.throws(() => loadConfig({ REDIS_URL: 'redis://a', REDIS_CA: pem }), { message: /use rediss:\/\/$/ })
  t.ok(loadConfig({ REDIS_URL: 'rediss://a', REDIS_CA: pem }))
})
