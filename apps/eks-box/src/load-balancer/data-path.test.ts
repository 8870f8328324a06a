/** The load balancers with a real HAProxy on the loopback interface. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, type IncomingHttpHeaders, type RequestOptions, request } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import https from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import t from 'tap'
import { isInstalled } from '../packages.ts'
import { Controller } from './controller.ts'
import { Haproxy } from './haproxy.ts'
import type { Listener, LoadBalancingState, Rule, Target } from './state.ts'
import type { TargetHealth } from './targets.ts'
import { forwardTo, groupArn, loadBalancer, startTarget, targetGroup } from './testing.ts'

const skip = isInstalled('haproxy', process.env['PATH'] ?? '') ? false : 'this machine has no HAProxy'

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(5)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

interface Response {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

async function get(port: number, path: string, options: RequestOptions = {}): Promise<Response> {
  const { promise, resolve, reject } = Promise.withResolvers<Response>()
  request({ host: '127.0.0.1', port, path, agent: false, ...options }, async (response) => {
    try {
      const body = Buffer.concat(await response.toArray()).toString()
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body })
    } catch (error) {
      reject(error)
    }
  })
    .on('error', reject)
    .end()
  return promise
}

/** Starts HAProxy and a controller. `state` can change; `refresh` applies it. */
async function startLoadBalancers(
  t: { teardown: (action: () => unknown) => void },
  state: LoadBalancingState,
  certificates: Readonly<Record<string, string>> = {},
) {
  // Not in the test's directory: the path of a socket must be short.
  const directory = mkdtempSync(join(tmpdir(), 'eks-box-lb-'))
  const health = await freePort()
  const base = join(directory, 'base.cfg')
  writeFileSync(
    base,
    `global
  stats socket ${directory}/stats.sock level admin expose-fd listeners
frontend health
  mode http
  bind 127.0.0.1:${health}
  timeout client 5s
  monitor-uri /healthz
`,
  )
  const socket = join(directory, 'master.sock')
  const start = async () => {
    const child = spawn('haproxy', ['-W', '-S', socket, '-f', directory], { stdio: 'ignore' })
    await until(() =>
      get(health, '/healthz').then(
        ({ status }) => status === 200,
        () => false,
      ),
    )
    return child
  }
  let master: ChildProcess = await start()
  const haproxy = new Haproxy({ base, configuration: join(directory, 'load-balancers.cfg'), socket })
  const none = async () => {}
  const controller = new Controller({
    readState: async () => structuredClone(state),
    addresses: { add: none, retain: none, of: () => '127.0.0.1' },
    certificateFile: async (arn) => {
      const file = certificates[arn]
      if (file === undefined) throw new Error(`there is no certificate ${arn}`)
      return file
    },
    apply: (...args) => haproxy.apply(...args),
    socketPrefix: `${directory}.`,
  })
  t.teardown(async () => {
    controller.close()
    const exit = once(master, 'exit')
    master.kill('SIGTERM')
    await exit
    rmSync(directory, { recursive: true })
  })
  await controller.refresh()
  return {
    controller,
    /** The state of each target of a group, by its port. */
    async states(group: string): Promise<Map<number, TargetHealth>> {
      const targets = (await controller.healthOf(groupArn(group))) ?? []
      return new Map(targets.map((target) => [target.port, target]))
    },
    async isHealthy(group: string, { port }: Target): Promise<boolean> {
      return (await this.states(group)).get(port)?.state === 'healthy'
    },
    async restart(): Promise<void> {
      const exit = once(master, 'exit')
      master.kill('SIGKILL')
      await exit
      master = await start()
    },
    /** Process id of the worker, which a reload replaces. */
    async worker(): Promise<string> {
      const { stdout } = await execa('pgrep', ['-P', String(master.pid)])
      return stdout
    },
  }
}

const http = (port: number, rules: Rule[]): Listener => ({ protocol: 'HTTP', port, certificates: [], rules })

t.test('requests reach the targets, with the headers of an ALB', { skip }, async (t) => {
  const seen: IncomingHttpHeaders[] = []
  const target = await startTarget(t, ({ headers }, response) => {
    seen.push(headers)
    response.end('hello')
  })
  const port = await freePort()
  const balancers = await startLoadBalancers(t, {
    loadBalancers: [loadBalancer('shop', [http(port, [forwardTo('web')])])],
    targetGroups: [targetGroup('web', { targets: [target] })],
  })
  await until(() => balancers.isHealthy('web', target))
  const send = async (headers = {}) => (await get(port, '/', { headers })).status
  t.equal(await send(), 200)
  t.equal(await send({ 'x-forwarded-for': '192.0.2.7' }), 200)
  t.equal(await send({ 'x-amzn-trace-id': 'Root=1-67891233-abcdef012345678912345678;Sampled=1' }), 200)
  t.equal(await send({ 'x-amzn-trace-id': 'Sampled=1' }), 200)
  const id = '1-[0-9a-f]{8}-[0-9a-f]{24}'
  const last = () => seen.filter(({ 'user-agent': agent }) => agent !== 'ELB-HealthChecker/2.0')
  t.match(last(), [
    {
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-port': String(port),
      'x-amzn-trace-id': new RegExp(`^Root=${id}$`),
      host: `127.0.0.1:${port}`,
    },
    { 'x-forwarded-for': '192.0.2.7, 127.0.0.1' },
    {
      'x-amzn-trace-id': new RegExp(`^Self=${id};Root=1-67891233-abcdef012345678912345678;Sampled=1$`),
    },
    { 'x-amzn-trace-id': new RegExp(`^Sampled=1;Root=${id}$`) },
  ])
})

t.test(
  'rules select by host, path, header, method, query and source, in order of priority',
  { skip },
  async (t) => {
    const port = await freePort()
    const fixed = (text: string, conditions: Rule['conditions'] = []): Rule => ({
      conditions,
      action: {
        Type: 'fixed-response',
        FixedResponseConfig: { StatusCode: '200', ContentType: 'text/plain', MessageBody: text },
      },
    })
    await startLoadBalancers(t, {
      loadBalancers: [
        loadBalancer('shop', [
          http(port, [
            fixed('first', [{ Field: 'path-pattern', PathPatternConfig: { Values: ['/both'] } }]),
            fixed('second', [{ Field: 'path-pattern', PathPatternConfig: { Values: ['/both', '/2?'] } }]),
            fixed('host', [{ Field: 'host-header', HostHeaderConfig: { Values: ['*.Example.com'] } }]),
            fixed('header', [
              { Field: 'http-header', HttpHeaderConfig: { HttpHeaderName: 'X-Kind', Values: ['a*c', 'd'] } },
            ]),
            fixed('method and path', [
              { Field: 'http-request-method', HttpRequestMethodConfig: { Values: ['PUT', 'DELETE'] } },
              { Field: 'path-pattern', Values: ["/it's/*"] },
            ]),
            fixed('query', [
              {
                Field: 'query-string',
                QueryStringConfig: { Values: [{ Key: 'version', Value: 'v?' }, { Value: 'any.thing' }] },
              },
            ]),
            fixed('elsewhere', [{ Field: 'source-ip', SourceIpConfig: { Values: ['192.0.2.0/24'] } }]),
            fixed('unknown', [{ Field: 'new-condition' }]),
            fixed('here', [
              { Field: 'source-ip', SourceIpConfig: { Values: ['192.0.2.0/24', '127.0.0.0/8'] } },
              { Field: 'path-pattern', Values: ['/here'] },
            ]),
            fixed('default: 100 % "ok" $HOME \\ #{host}\nü'),
          ]),
        ]),
      ],
      targetGroups: [],
    })
    for (const [path, options, body] of [
      ['/both', {}, 'first'],
      ['/2x', {}, 'second'],
      ['/2xx', {}, /^default/],
      ['/Both', {}, /^default/],
      ['/', { headers: { host: 'SHOP.example.com:80' } }, 'host'],
      ['/', { headers: { host: 'shopXexample.com' } }, /^default/],
      ['/', { headers: { 'x-kind': 'ABBC' } }, 'header'],
      ["/it's/mine", { method: 'PUT' }, 'method and path'],
      ["/it's/mine", { method: 'GET' }, /^default/],
      ['/?a=b&VERSION=v2', {}, 'query'],
      ['/?version=v22', {}, /^default/],
      ['/?x=any.thing', {}, 'query'],
      ['/here', {}, 'here'],
      ['/', {}, 'default: 100 % "ok" $HOME \\ #{host}\nü'],
    ] as const) {
      t.match((await get(port, path, options)).body, body, `${path} ${JSON.stringify(options)}`)
    }
    t.match((await get(port, '/')).headers, { server: 'awselb/2.0', 'content-type': 'text/plain' })
  },
)

t.test('redirects fill in the parts of the URL', { skip }, async (t) => {
  const [first, second] = [await freePort(), await freePort()]
  const redirect = (config: Rule['action']['RedirectConfig']): Rule[] => [
    { conditions: [], action: { Type: 'redirect', RedirectConfig: config } },
  ]
  await startLoadBalancers(t, {
    loadBalancers: [
      loadBalancer('one', [
        http(first, redirect({ Protocol: 'HTTPS', Port: '443', StatusCode: 'HTTP_301' })),
      ]),
      loadBalancer('two', [
        http(
          second,
          redirect({
            Host: 'new.#{host}',
            Path: '/a/#{path}',
            Query: 'q=100%&#{query}',
            StatusCode: 'HTTP_302',
          }),
        ),
      ]),
    ],
    targetGroups: [],
  })
  const headers = { host: 'shop.example.com:8080' }
  const { status, headers: permanent } = await get(first, '/cart?id=1', { headers })
  t.strictSame([status, permanent.location], [301, 'https://shop.example.com:443/cart?id=1'])
  t.equal((await get(first, '/', { headers })).headers.location, 'https://shop.example.com:443/')
  const found = await get(second, '/cart?id=1', { headers })
  t.strictSame(
    [found.status, found.headers.location],
    [302, `http://new.shop.example.com:${second}/a/cart?q=100%&id=1`],
    'two load balancers at once',
  )
})

t.test('weights divide the requests among target groups', { skip }, async (t) => {
  const answer = (text: string) => startTarget(t, (_request, response) => response.end(text))
  const [old, fresh, port] = [await answer('old'), await answer('fresh'), await freePort()]
  const balancers = await startLoadBalancers(t, {
    loadBalancers: [
      loadBalancer('shop', [
        http(port, [
          {
            conditions: [],
            action: {
              Type: 'forward',
              ForwardConfig: {
                TargetGroups: [
                  { TargetGroupArn: groupArn('old'), Weight: 3 },
                  { TargetGroupArn: groupArn('fresh'), Weight: 1 },
                  { TargetGroupArn: groupArn('none'), Weight: 0 },
                ],
              },
            },
          },
        ]),
      ]),
    ],
    targetGroups: [
      targetGroup('old', { targets: [old] }),
      targetGroup('fresh', { targets: [fresh] }),
      targetGroup('none'),
    ],
  })
  await until(async () => (await balancers.isHealthy('old', old)) && balancers.isHealthy('fresh', fresh))
  const bodies = await Promise.all(Array.from({ length: 400 }, async () => (await get(port, '/')).body))
  const share = bodies.filter((body) => body === 'old').length / 400
  t.ok(share > 0.6 && share < 0.9, `old received ${share}`)
  t.strictSame([...new Set(bodies)].sort(), ['fresh', 'old'])
})

t.test('502, 503 and 504 mean what they mean on an ALB', { skip }, async (t) => {
  const target = await startTarget(t, ({ url, socket }, response) => {
    if (url === '/reset') socket.resetAndDestroy()
    else if (url === '/close') socket.end()
    else if (url === '/malformed') socket.end('SSH-2.0-OpenSSH_9.6\r\n\r\n')
    else if (url !== '/hang') response.writeHead(url === '/overloaded' ? 503 : 200).end('the target')
  })
  const state: LoadBalancingState = {
    loadBalancers: [],
    targetGroups: [
      targetGroup('web', { targets: [target] }),
      targetGroup('empty'),
      targetGroup('refusing', {
        targets: [{ id: '127.0.0.1', port: await freePort(), address: '127.0.0.1' }],
      }),
    ],
  }
  const port = await freePort()
  const path = (value: string): Rule['conditions'] => [{ Field: 'path-pattern', Values: [value] }]
  const balancer = loadBalancer('shop', [
    http(port, [
      forwardTo('empty', path('/empty')),
      forwardTo('refusing', path('/refused')),
      forwardTo('web'),
    ]),
  ])
  balancer.attributes.idleTimeoutSeconds = 1
  state.loadBalancers.push(balancer)
  const balancers = await startLoadBalancers(t, state)
  await until(() => balancers.isHealthy('web', target))
  // A client that keeps its connection gets the same responses.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  for (const options of [{ agent: false as const }, { agent }]) {
    for (const [url, status] of [
      ['/', 200],
      ['/reset', 502],
      ['/close', 502],
      ['/malformed', 502],
      ['/refused', 502],
      ['/empty', 503],
      ['/hang', 504],
      ['/', 200],
    ] as const) {
      t.equal((await get(port, url, options)).status, status, url)
    }
  }
  t.match(await get(port, '/overloaded'), { status: 503, body: 'the target' }, "the target's own 503 is kept")
  const empty = await get(port, '/empty')
  t.equal(empty.headers['server'], 'awselb/2.0')
  t.match(empty.body, '<h1>503 Service Temporarily Unavailable</h1>')
  const [refusing] = (await balancers.states('refusing')).values()
  t.match(
    refusing,
    { state: 'unhealthy', reason: 'Target.FailedHealthChecks' },
    'and yet it is tried: fail open',
  )
})

t.test('only healthy targets receive requests, unless there are none', { skip }, async (t) => {
  const codes = [503, 200]
  const served = [0, 0]
  let path = '/healthy'
  const targets = await Promise.all(
    codes.map((_code, index) =>
      startTarget(t, ({ url }, response) => {
        if (url === path) response.statusCode = codes[index] ?? 0
        else served[index] = (served[index] ?? 0) + 1
        response.end()
      }),
    ),
  )
  const [one, two] = targets
  if (one === undefined || two === undefined) throw new Error('unreachable')
  const port = await freePort()
  const group = targetGroup('web', { targets: [one, two] })
  const state = {
    loadBalancers: [loadBalancer('shop', [http(port, [forwardTo('web')])])],
    targetGroups: [group],
  }
  const { controller, worker, ...balancers } = await startLoadBalancers(t, state)
  const isHealthy = (target: Target) => balancers.isHealthy('web', target)
  const before = await worker()
  const stateOf = async ({ port }: Target) => (await balancers.states('web')).get(port)
  await until(async () => (await isHealthy(two)) && (await stateOf(one))?.state === 'unhealthy')
  t.match(await stateOf(one), {
    reason: 'Target.ResponseCodeMismatch',
    description: 'Health checks failed with these codes: [503]',
  })
  for (let count = 0; count < 20; count++) await get(port, '/')
  t.strictSame(served, [0, 20])

  codes[0] = 200
  await until(() => isHealthy(one))
  await until(async () => {
    await get(port, '/')
    return (served[0] ?? 0) > 0
  })
  t.pass('a healthy target receives requests again')

  group.healthCheck = { ...group.healthCheck, matcher: '404,500-599' }
  await controller.refresh()
  await until(async () =>
    (await Promise.all([one, two].map(stateOf))).every((target) => target?.state === 'unhealthy'),
  )
  t.equal((await get(port, '/')).status, 200, 'without a healthy target, all receive requests')

  path = '/ready'
  group.healthCheck = { ...group.healthCheck, matcher: '200-299', path, healthyThreshold: 3 }
  await controller.refresh()
  await until(async () => (await isHealthy(one)) && (await isHealthy(two)))
  t.equal(await worker(), before, 'no change of a target or its health needs a reload')
})

t.test('a deregistered target finishes its requests, and gets no new ones', { skip }, async (t) => {
  const release = Promise.withResolvers<() => void>()
  const slow = await startTarget(t, ({ url }, response) => {
    if (url === '/slow') release.resolve(() => response.end('finished'))
    else response.end('old')
  })
  const other = await startTarget(t, (_request, response) => response.end('new'))
  const port = await freePort()
  const group = targetGroup('web', { targets: [slow] })
  const state = {
    loadBalancers: [loadBalancer('shop', [http(port, [forwardTo('web')])])],
    targetGroups: [group],
  }
  const { controller, ...balancers } = await startLoadBalancers(t, state)
  await until(() => balancers.isHealthy('web', slow))
  const agent = new Agent({ keepAlive: true, maxSockets: 4 })
  t.teardown(() => agent.destroy())
  const results: Record<string, number> = {}
  let sent = 0
  let isOver = false
  const clients = Array.from({ length: 4 }, async () => {
    while (!isOver) {
      const result = await get(port, '/', { agent }).then(
        ({ status }) => String(status),
        (error: Error) => error.message,
      )
      results[result] = (results[result] ?? 0) + 1
      sent++
    }
  })
  const pending = get(port, '/slow')
  const finish = await release.promise
  group.targets = [slow, other]
  await controller.refresh()
  await until(() => balancers.isHealthy('web', other))
  group.targets = [other]
  await controller.refresh()
  t.match((await balancers.states('web')).get(slow.port), {
    state: 'draining',
    reason: 'Target.DeregistrationInProgress',
  })
  for (let count = 0; count < 20; count++) t.equal((await get(port, '/')).body, 'new')
  finish()
  t.equal((await pending).body, 'finished')

  // Reloads, as other listeners come and go, lose no request either.
  for (let reloads = 0; reloads < 10; reloads++) {
    state.loadBalancers.splice(1)
    if (reloads % 2 === 0) {
      state.loadBalancers.push(loadBalancer('second', [http(await freePort(), [forwardTo('web')])]))
    }
    const before = sent
    await controller.refresh()
    await until(() => sent > before + 40)
  }
  isOver = true
  await Promise.all(clients)
  t.strictSame(Object.keys(results), ['200'], JSON.stringify(results))
})

t.test('after the deregistration delay, the rest of the connections are closed', { skip }, async (t) => {
  const requested = Promise.withResolvers<void>()
  const slow = await startTarget(t, ({ url }, response) => {
    if (url === '/slow') requested.resolve()
    else response.end()
  })
  const other = await startTarget(t, (_request, response) => response.end())
  const port = await freePort()
  const group = targetGroup('web', { targets: [slow], deregistrationDelaySeconds: 1 })
  const state = {
    loadBalancers: [loadBalancer('shop', [http(port, [forwardTo('web')])])],
    targetGroups: [group],
  }
  const started = await startLoadBalancers(t, state)
  await until(() => started.isHealthy('web', slow))
  const pending = get(port, '/slow')
  await requested.promise
  group.targets = [other]
  await started.controller.refresh()
  t.ok((await pending).status >= 500)
  t.strictSame([...(await started.states('web')).keys()], [other.port], 'the target is gone')
})

t.test('HAProxy continues with its last configuration after a crash', { skip }, async (t) => {
  const target = await startTarget(t, (_request, response) => response.end('hello'))
  const port = await freePort()
  const started = await startLoadBalancers(t, {
    loadBalancers: [loadBalancer('shop', [http(port, [forwardTo('web')])])],
    targetGroups: [targetGroup('web', { targets: [target] })],
  })
  await until(() => started.isHealthy('web', target))
  await started.restart()
  t.equal((await get(port, '/')).body, 'hello')
})

t.test('a new target receives more and more requests during its slow start', { skip }, async (t) => {
  const served = new Map<string, number>()
  const answer = (name: string) =>
    startTarget(t, ({ url }, response) => {
      if (url !== '/healthy') served.set(name, (served.get(name) ?? 0) + 1)
      response.end()
    })
  const [old, fresh, port] = [await answer('old'), await answer('fresh'), await freePort()]
  const group = targetGroup('web', { targets: [old], slowStartSeconds: 600 })
  const started = await startLoadBalancers(t, {
    loadBalancers: [loadBalancer('shop', [http(port, [forwardTo('web')])])],
    targetGroups: [group],
  })
  await until(() => started.isHealthy('web', old))
  group.targets = [old, fresh]
  await started.controller.refresh()
  await until(() => started.isHealthy('web', fresh))
  served.clear()
  for (let count = 0; count < 200; count++) await get(port, '/')
  t.ok((served.get('fresh') ?? 0) < 60, `the new target received ${served.get('fresh')} of 200`)
})

t.test('HTTPS listeners have certificates by name, and speak HTTP/2', { skip }, async (t) => {
  const target = await startTarget(t, ({ headers }, response) => response.end(headers['x-forwarded-proto']))
  const directory = t.testdir()
  const issue = async (name: string) => {
    const file = join(directory, `${name}.pem`)
    await execa('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...[
        '-subj',
        `/CN=${name}`,
        '-addext',
        `subjectAltName=DNS:${name}`,
        '-keyout',
        file,
        '-out',
        `${file}.crt`,
      ],
    ])
    const { stdout } = await execa('cat', [`${file}.crt`, file])
    writeFileSync(file, stdout)
    return file
  }
  const certificates = { a: await issue('a.example'), b: await issue('b.example') }
  const [port, unknown] = [await freePort(), await freePort()]
  const listener = { protocol: 'HTTPS', rules: [forwardTo('web')] } as const
  const started = await startLoadBalancers(
    t,
    {
      loadBalancers: [
        loadBalancer('shop', [
          {
            ...listener,
            port,
            certificates: ['a', 'b'],
            strictTransportSecurity: 'max-age=60; includeSubDomains',
            rules: [...listener.rules],
          },
          { ...listener, port: unknown, certificates: ['none'], rules: [...listener.rules] },
        ]),
      ],
      targetGroups: [targetGroup('web', { targets: [target] })],
    },
    certificates,
  )
  await until(() => started.isHealthy('web', target))
  for (const [servername, expected] of [
    ['a.example', 'a.example'],
    ['b.example', 'b.example'],
    ['other.example', 'a.example'],
  ] as const) {
    const request = https.get({
      host: '127.0.0.1',
      port,
      servername,
      rejectUnauthorized: false,
      agent: false,
    })
    const [response] = await once(request, 'response')
    t.equal(response.socket.getPeerCertificate().subject.CN, expected)
    t.equal(response.headers['strict-transport-security'], 'max-age=60; includeSubDomains')
    t.equal((await response.toArray()).join(''), 'https')
  }
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
  const stream = session.request({ ':path': '/' })
  t.equal((await stream.setEncoding('utf8').toArray()).join(''), 'https')
  session.close()
  await t.rejects(get(unknown, '/'), { code: 'ECONNREFUSED' }, 'a listener without a certificate is left out')
})
