import t from 'tap'
import { ConfigError, loadConfig } from './config.ts'

t.test('an empty environment is enough', async (t) => {
  t.match(loadConfig({}), {
    HOST: '0.0.0.0',
    PORT: 3000,
    LOG_LEVEL: 'info',
    DRAIN_DELAY_MS: 5000,
    SHUTDOWN_TIMEOUT_MS: 20_000,
    LOAD_ENDPOINTS_ENABLED: true,
  })
})

t.test('texts from the environment become numbers and switches', async (t) => {
  t.match(loadConfig({ PORT: '8080', LOAD_ENDPOINTS_ENABLED: 'false' }), {
    PORT: 8080,
    LOAD_ENDPOINTS_ENABLED: false,
  })
})

const refused: [variable: string, value: string, message: string][] = [
  ['PORT', 'http', 'PORT="http" must be an integer from 0 to 65535'],
  ['PORT', '70000', 'PORT="70000" must be an integer from 0 to 65535'],
  ['LOG_LEVEL', 'loud', 'LOG_LEVEL="loud" must be one of trace, debug, info, warn, error, fatal, silent'],
  ['LOAD_ENDPOINTS_ENABLED', 'perhaps', 'LOAD_ENDPOINTS_ENABLED="perhaps" must be true or false'],
  ['RATE_LIMIT_PER_MINUTE', '-1', 'RATE_LIMIT_PER_MINUTE="-1" must be an integer, 0 or more'],
  // Without the value: it carries a password.
  ['DATABASE_URL', 'mysql://a:secret@b/c', 'DATABASE_URL must be a URL that matches ^postgres(ql)?://'],
  ['HOST', '', 'HOST="" must be a text that is not empty'],
]
for (const [variable, value, message] of refused) {
  t.test(`${variable}="${value}" is refused in one line`, async (t) => {
    t.throws(() => loadConfig({ [variable]: value }), new ConfigError(message))
  })
}

t.test('all wrong variables are told at once', async (t) => {
  t.throws(() => loadConfig({ PORT: 'x', LOG_LEVEL: 'y' }), { message: /PORT.*; LOG_LEVEL/ })
})
