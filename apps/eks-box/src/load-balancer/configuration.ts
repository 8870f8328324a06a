import type { Action } from '@aws-sdk/client-elastic-load-balancing-v2'
import { conditionsOf } from './conditions.ts'
import {
  forwardedGroups,
  type Listener,
  type LoadBalancer,
  type LoadBalancingState,
  type Rule,
  type TargetGroup,
  targetGroupsOf,
} from './state.ts'

/** A target as HAProxy has to treat it. A draining one gets no new requests, but finishes those that it has. */
export interface Server {
  address: string
  port: number
  state: 'ready' | 'drain'
}

/** What the configuration needs beside the state of the account. */
export interface ConfigurationContext {
  /** The address on which a load balancer listens. */
  addressOf: (loadBalancer: LoadBalancer) => string
  /** The PEM file of a certificate; undefined if there is none. */
  certificateFile: (arn: string) => string | undefined
  /** The servers of a target group. A free place, undefined, can take a target without a reload. */
  serversOf: (targetGroupArn: string) => readonly (Server | undefined)[]
  /** Prefix of the abstract sockets between the two stages. */
  socketPrefix: string
}

/** How long an ALB waits for a connection to a target. */
const connectTimeoutSeconds = 10

/**
 * HAProxy's configuration of the load balancers.
 *
 * Each request passes two stages, which a socket connects. The first serves the client and selects the rule, the second
 * sends the request to a target. With a single stage, if a target closes the connection instead of responding to a later
 * request of a client's connection, HAProxy closes the client's connection without a response. An ALB responds with 502.
 */
export function renderConfiguration(state: LoadBalancingState, context: ConfigurationContext): string {
  const sections = state.loadBalancers.flatMap((loadBalancer) => [
    ...loadBalancer.listeners.flatMap((listener) => frontend(loadBalancer, listener, context)),
    ...targetGroupsOf(loadBalancer).flatMap((arn) => {
      const group = state.targetGroups.find((candidate) => candidate.arn === arn)
      return group === undefined ? [] : backends(loadBalancer, group, context)
    }),
  ])
  return `${[defaults(), ...sections].map(([head, ...lines]) => [head, ...lines.map((line) => `  ${line}`)].join('\n')).join('\n\n')}\n`
}

/** Name of the backend whose servers are the targets that `loadBalancer` reaches in `group`. */
export function targetsBackend(
  loadBalancer: Pick<LoadBalancer, 'name'>,
  group: Pick<TargetGroup, 'name'>,
): string {
  return `${loadBalancer.name}.${group.name}.targets`
}

/** Name of the server in a place, counted from 0. */
export function serverName(place: number): string {
  return `t${place + 1}`
}

function defaults(): string[] {
  return [
    'defaults load-balancers',
    'mode http',
    'log global',
    // A reload must not close a connection on which a client may just be sending a request.
    'option idle-close-on-response',
    'retries 0',
    ...[
      [400, 'Bad Request'],
      [408, 'Request Time-out'],
      [500, 'Internal Server Error'],
      [502, 'Bad Gateway'],
      [504, 'Gateway Time-out'],
    ].map(([status, reason]) => `http-error status ${status} ${page(`${status} ${reason}`)}`),
  ]
}

/** The response of an ALB itself. */
function page(title: string): string {
  const html = [
    '<html>',
    `<head><title>${title}</title></head>`,
    '<body>',
    `<center><h1>${title}</h1></center>`,
    '</body>',
    '</html>',
    '',
  ].join('\r\n')
  return `content-type text/html string ${quoted(html)} hdr Server awselb/2.0`
}

function frontend(
  loadBalancer: LoadBalancer,
  listener: Listener,
  { addressOf, certificateFile }: ConfigurationContext,
): string[][] {
  const { name, attributes } = loadBalancer
  const { port, protocol, rules } = listener
  const idle = `${attributes.idleTimeoutSeconds}s`
  const files = listener.certificates.flatMap((arn) => certificateFile(arn) ?? [])
  if (protocol === 'HTTPS' && files.length === 0) return []
  const tls =
    protocol === 'HTTP'
      ? ''
      : ` ssl ${files.map((file) => `crt ${quoted(file)}`).join(' ')} alpn ${attributes.http2 ? 'h2,' : ''}http/1.1 ssl-min-ver TLSv1.2`
  return [
    [
      `frontend ${name}.${port}`,
      `bind ${addressOf(loadBalancer)}:${port}${tls}`,
      `timeout client ${idle}`,
      `timeout http-request ${idle}`,
      `timeout http-keep-alive ${idle}`,
      ...selectRule(rules),
      ...rules.flatMap((rule, index) => respond(rule.action, listener, index)),
      ...requestHeaders(loadBalancer, listener),
      ...rules.flatMap((rule, index) => forward(loadBalancer, rule.action, index)),
      ...(listener.strictTransportSecurity === undefined
        ? []
        : [
            `http-after-response set-header Strict-Transport-Security ${quoted(listener.strictTransportSecurity, listener)}`,
          ]),
    ],
  ]
}

const isRule = (index: number) => `{ var(txn.rule) -m int ${index} }`

/** Stores the number of the first rule that matches. Later settings overwrite earlier ones, so the first comes last. */
function selectRule(rules: readonly Rule[]): string[] {
  return rules
    .map(({ conditions }, index) =>
      [`http-request set-var(txn.rule) int(${index})`, ...conditionLines(conditions)].join(' '),
    )
    .toReversed()
}

function conditionLines(conditions: Rule['conditions']): string[] {
  return conditions.length === 0 ? [] : ['if', ...conditionsOf(conditions)]
}

/** The responses of rules that forward to no target. */
function respond(action: Action, listener: Listener, index: number): string[] {
  const { FixedResponseConfig: fixed, RedirectConfig: redirect } = action
  switch (action.Type) {
    case 'fixed-response': {
      const body =
        fixed?.MessageBody === undefined || fixed.MessageBody === ''
          ? ''
          : ` content-type ${quoted(fixed.ContentType ?? 'text/plain')} string ${quoted(fixed.MessageBody)}`
      return [
        `http-request return status ${Number(fixed?.StatusCode)}${body} hdr Server awselb/2.0 if ${isRule(index)}`,
      ]
    }
    case 'redirect': {
      const code = redirect?.StatusCode === 'HTTP_302' ? 302 : 301
      const { Host = '#{host}', Path = '/#{path}', Port = '#{port}', Query = '#{query}' } = redirect ?? {}
      const target = `${redirect?.Protocol?.toLowerCase() ?? '#{protocol}'}://${Host}:${Port}${Path}`
      const to = (location: string, condition: string) =>
        `http-request return status ${code} ${page(code === 302 ? '302 Found' : '301 Moved Permanently')} hdr Location ${quoted(location, listener)} if ${isRule(index)}${condition}`
      if (Query !== '#{query}') return [to(Query === '' ? target : `${target}?${Query}`, '')]
      return [to(`${target}?${Query}`, ' { query -m len ge 1 }'), to(target, '')]
    }
    case 'forward':
      return []
    default:
      return [`http-request return status 500 ${page('500 Internal Server Error')} if ${isRule(index)}`]
  }
}

function forward(loadBalancer: LoadBalancer, action: Action, index: number): string[] {
  if (action.Type !== 'forward') return []
  const groups = forwardedGroups(action).filter(({ weight }) => weight > 0)
  const total = groups.reduce((sum, { weight }) => sum + weight, 0)
  if (total === 0) {
    return [
      `http-request return status 503 ${page('503 Service Temporarily Unavailable')} if ${isRule(index)}`,
    ]
  }
  if (groups.length === 1) {
    return groups.map(({ arn }) => `use_backend ${groupBackend(loadBalancer, arn)} if ${isRule(index)}`)
  }
  let share = 0
  return [
    `http-request set-var(txn.share) rand(${total}) if ${isRule(index)}`,
    ...groups.map(({ arn, weight }) => {
      share += weight
      return `use_backend ${groupBackend(loadBalancer, arn)} if ${isRule(index)} { var(txn.share) -m int lt ${share} }`
    }),
  ]
}

/** arn:aws:elasticloadbalancing:<region>:<account>:targetgroup/<name>/<id> */
function groupBackend({ name }: LoadBalancer, targetGroupArn: string): string {
  return `${name}.${targetGroupArn.split('/')[1] ?? ''}`
}

/** The headers that an ALB adds to requests (ALB user guide, "HTTP headers" and "request tracing"). */
function requestHeaders({ attributes }: LoadBalancer, { protocol, port }: Listener): string[] {
  const client = attributes.clientPort ? '%[src]:%[src_port]' : '%[src]'
  const forwardedFor = {
    append: [
      `http-request set-header X-Forwarded-For "%[req.fhdr(X-Forwarded-For)], ${client}" if { req.fhdr(X-Forwarded-For) -m found }`,
      `http-request set-header X-Forwarded-For "${client}" if !{ req.fhdr(X-Forwarded-For) -m found }`,
    ],
    preserve: [],
    remove: ['http-request del-header X-Forwarded-For'],
  }
  // Version, time in seconds and 96 random bits.
  const id = '1-%[date,hex,bytes(8,8),lower]-%[uuid,regsub(-,,g),bytes(0,24)]'
  const trace = 'req.fhdr(X-Amzn-Trace-Id)'
  const hasRoot = `{ ${trace} -m reg '(^|;)Root=' }`
  return [
    ...forwardedFor[attributes.forwardedFor],
    `http-request set-header X-Forwarded-Proto ${protocol.toLowerCase()}`,
    `http-request set-header X-Forwarded-Port ${port}`,
    `http-request set-header X-Amzn-Trace-Id "Self=${id};%[${trace},regsub(^Self=[^;]*;,)]" if ${hasRoot}`,
    `http-request set-header X-Amzn-Trace-Id "%[${trace}];Root=${id}" if { ${trace} -m found } !${hasRoot}`,
    `http-request set-header X-Amzn-Trace-Id "Root=${id}" if !{ ${trace} -m found }`,
  ]
}

const balance = {
  round_robin: 'roundrobin',
  least_outstanding_requests: 'leastconn',
  weighted_random: 'random',
} as const

/** The way from the first stage to the targets of a group. */
function backends(
  loadBalancer: LoadBalancer,
  group: TargetGroup,
  { addressOf, serversOf, socketPrefix }: ConfigurationContext,
): string[][] {
  const { idleTimeoutSeconds } = loadBalancer.attributes
  // The second stage has to report a timeout before the first one ends.
  const outer = `${idleTimeoutSeconds + connectTimeoutSeconds + 5}s`
  const name = groupBackend(loadBalancer, group.arn)
  const targets = targetsBackend(loadBalancer, group)
  const socket = `abns@${socketPrefix}${name}`
  const slowStart = group.slowStartSeconds > 0 ? ` slowstart ${group.slowStartSeconds}s` : ''
  const tls = group.protocol === 'HTTPS' ? ' ssl verify none' : ''
  const isUnanswered = '{ status 503 } { srv_id -m found } !{ var(txn.answered) -m found }'
  return [
    [
      `backend ${name}`,
      // Each connection carries one request, which is what makes the second stage respond to all of them.
      'option http-server-close',
      'http-reuse never',
      'timeout connect 5s',
      `timeout server ${outer}`,
      `timeout tunnel ${outer}`,
      `server targets ${socket}`,
    ],
    [
      `frontend ${targets}`,
      `bind ${socket}`,
      `timeout client ${outer}`,
      `timeout http-request ${outer}`,
      `default_backend ${targets}`,
    ],
    [
      `backend ${targets}`,
      `balance ${balance[group.algorithm]}`,
      'http-reuse always',
      `source ${addressOf(loadBalancer)}`,
      `timeout connect ${connectTimeoutSeconds}s`,
      `timeout server ${idleTimeoutSeconds}s`,
      `timeout tunnel ${idleTimeoutSeconds}s`,
      // In a process that a reload has replaced, HAProxy counts no servers, but still uses them.
      `http-request return status 503 ${page('503 Service Temporarily Unavailable')} if { nbsrv eq 0 } !{ stopping }`,
      // HAProxy responds with 503 if it cannot connect to a target, an ALB with 502, or with 504 after a timeout.
      'http-request set-var(txn.started) date(0,ms)',
      'http-response set-var(txn.answered) bool(true)',
      `http-error status 503 ${page('Bad Gateway')}`,
      `http-after-response set-status 504 reason "Gateway Time-out" if ${isUnanswered} { date(0,ms),sub(txn.started) ge ${connectTimeoutSeconds * 1000} }`,
      `http-after-response set-status 502 reason "Bad Gateway" if ${isUnanswered}`,
      ...serversOf(group.arn).map((server, place) => {
        const where =
          server === undefined
            ? // Replaced when the place is taken.
              '127.0.0.1:1'
            : `${server.address.includes(':') ? `[${server.address}]` : server.address}:${server.port}`
        const state = server?.state === 'ready' ? '' : ' disabled'
        return `server ${serverName(place)} ${where} weight 100${tls}${slowStart}${state}`
      }),
    ],
  ]
}

/**
 * A text in double quotes, with everything that could have a meaning in HAProxy's configuration written as a byte. With a
 * listener, the text is a log format and `#{...}` stands for a part of the request's URL.
 */
function quoted(text: string, listener?: Listener): string {
  const parts: Readonly<Record<string, string>> =
    listener === undefined
      ? {}
      : {
          '#{protocol}': listener.protocol.toLowerCase(),
          '#{port}': String(listener.port),
          '#{host}': '%[req.hdr(host),field(1,:)]',
          '#{path}': '%[path,regsub(^/,)]',
          '#{query}': '%[query]',
        }
  const escaped = text.replaceAll(/#\{\w+\}|[^A-Za-z0-9 /:;.,<>()=?&_-]/gu, (match) => {
    const part = parts[match]
    if (part !== undefined) return part
    const bytes = [...Buffer.from(match)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
    return match === '%' && listener !== undefined ? bytes.repeat(2) : bytes
  })
  return `"${escaped}"`
}
