/**
 * Runs in a pod, as one of these commands:
 *
 * - `connections.ts serve <port>...` greets every client of these ports, and repeats what it sends.
 * - `connections.ts try <target>...` prints as JSON which targets answer: `<host>:<port>` greets, `tcp:<host>:<port>`
 *   accepts a connection, and `name:<name>` has an address.
 * - `connections.ts hold <host>:<port>` uses one connection until nothing comes back for three seconds. It prints `open`
 *   at the first answer, and `interrupted` at the end.
 */
import { Resolver } from 'node:dns/promises'
import { connect, createServer } from 'node:net'

const [, , task, ...targets] = process.argv
const patience = 3000

function greets(host: string, port: number, silent: boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: patience })
    const end = (answered: boolean) => {
      socket.destroy()
      resolve(answered)
    }
    socket.on('timeout', () => end(false)).on('error', () => end(false))
    if (silent) socket.on('connect', () => end(true))
    else socket.on('data', () => end(true)).on('end', () => end(false))
  })
}

async function answers(target: string): Promise<boolean> {
  const [kind = '', ...rest] = target.split(':')
  if (kind === 'name') {
    const resolver = new Resolver({ timeout: patience, tries: 1 })
    return resolver.resolve4(rest.join(':')).then(
      () => true,
      () => false,
    )
  }
  if (kind === 'tcp') return greets(rest[0] ?? '', Number(rest[1]), true)
  return greets(kind, Number(rest[0]), false)
}

function hold(target: string): void {
  const [host = '', port] = target.split(':')
  const socket = connect({ host, port: Number(port) })
  const interrupted = () => process.stdout.write('interrupted\n', () => process.exit())
  let silence = setTimeout(interrupted, patience)
  socket.once('data', () => process.stdout.write('open\n'))
  socket.on('data', () => {
    clearTimeout(silence)
    silence = setTimeout(interrupted, patience)
  })
  socket.on('error', interrupted).on('end', interrupted)
  setInterval(() => socket.write('?'), 200)
}

if (task === 'serve') {
  for (const port of targets) {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.write('hello')
      socket.pipe(socket)
    })
    server.listen(Number(port))
  }
} else if (task === 'hold') {
  hold(targets[0] ?? '')
} else {
  const results = targets.map(async (target) => [target, await answers(target)] as const)
  // Node would wait for DNS queries without an answer.
  const print = (text: string) => process.stdout.write(text, () => process.exit())
  Promise.all(results).then((entries) => print(JSON.stringify(Object.fromEntries(entries))))
}
