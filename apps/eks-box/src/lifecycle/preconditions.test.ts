import t from 'tap'
import { requireRoot } from './preconditions.ts'

t.test('without root, the error has the sudo command with the settings that sudo would drop', (t) => {
  const env = { BOX_NAME: 'x', https_proxy: 'http://proxy:3128', HOME: '/home/dev' }
  t.intercept(process, 'getuid', { value: () => 1000 })
  t.throws(() => requireRoot('box x belongs to root', 'down', '', env), {
    message: 'box x belongs to root',
    nextStep: 'run `sudo env "PATH=$PATH" "BOX_NAME=$BOX_NAME" "https_proxy=$https_proxy" make down`',
  })
  t.end()
})
