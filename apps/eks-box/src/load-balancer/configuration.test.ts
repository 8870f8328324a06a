import t from 'tap'
import { type ConfigurationContext, renderConfiguration } from './configuration.ts'
import { forwardTo, loadBalancer, targetGroup } from './testing.ts'

const context: ConfigurationContext = {
  addressOf: () => '10.0.3.1',
  certificateFile: (arn) => `/certificates/${arn}.pem`,
  serversOf: () => [
    { address: '10.0.33.5', port: 3000, state: 'ready' },
    { address: '10.0.33.6', port: 3000, state: 'drain' },
    undefined,
  ],
  socketPrefix: '',
}

/** The section that begins with `head`, without the pages that HAProxy responds with. */
function section(configuration: string, head: string): string[] {
  const sections = configuration.split('\n\n').map((text) => text.trimEnd().split('\n'))
  const found = sections.find(([first]) => first === head) ?? []
  return found.slice(1).map((line) => line.trim().replace(/content-type text\/html string "[^"]*"/, '<page>'))
}

t.test('a load balancer with two listeners and one target group', async (t) => {
  const configuration = renderConfiguration(
    {
      loadBalancers: [
        loadBalancer('shop', [
          {
            protocol: 'HTTP',
            port: 80,
            certificates: [],
            rules: [
              {
                conditions: [],
                action: {
                  Type: 'redirect',
                  RedirectConfig: { Protocol: 'HTTPS', Port: '443', Query: '', StatusCode: 'HTTP_301' },
                },
              },
            ],
          },
          {
            protocol: 'HTTPS',
            port: 443,
            certificates: ['one', 'two'],
            rules: [
              forwardTo('web', [
                { Field: 'path-pattern', Values: ['/v1/*'] },
                { Field: 'http-request-method', HttpRequestMethodConfig: { Values: ['GET', 'PUT'] } },
              ]),
              {
                conditions: [],
                action: { Type: 'fixed-response', FixedResponseConfig: { StatusCode: '404' } },
              },
            ],
          },
        ]),
      ],
      targetGroups: [targetGroup('web', { algorithm: 'least_outstanding_requests', slowStartSeconds: 30 })],
    },
    context,
  )
  t.strictSame(section(configuration, 'frontend shop.80'), [
    'bind 10.0.3.1:80',
    'timeout client 60s',
    'timeout http-request 60s',
    'timeout http-keep-alive 60s',
    'http-request set-var(txn.rule) int(0)',
    'http-request return status 301 <page> hdr Server awselb/2.0 hdr Location "https://%[req.hdr(host),field(1,:)]:443/%[path,regsub(^/,)]" if { var(txn.rule) -m int 0 }',
    'http-request set-header X-Forwarded-For "%[req.fhdr(X-Forwarded-For)], %[src]" if { req.fhdr(X-Forwarded-For) -m found }',
    'http-request set-header X-Forwarded-For "%[src]" if !{ req.fhdr(X-Forwarded-For) -m found }',
    'http-request set-header X-Forwarded-Proto http',
    'http-request set-header X-Forwarded-Port 80',
    'http-request set-header X-Amzn-Trace-Id "Self=1-%[date,hex,bytes(8,8),lower]-%[uuid,regsub(-,,g),bytes(0,24)];%[req.fhdr(X-Amzn-Trace-Id),regsub(^Self=[^;]*;,)]" if { req.fhdr(X-Amzn-Trace-Id) -m reg \'(^|;)Root=\' }',
    'http-request set-header X-Amzn-Trace-Id "%[req.fhdr(X-Amzn-Trace-Id)];Root=1-%[date,hex,bytes(8,8),lower]-%[uuid,regsub(-,,g),bytes(0,24)]" if { req.fhdr(X-Amzn-Trace-Id) -m found } !{ req.fhdr(X-Amzn-Trace-Id) -m reg \'(^|;)Root=\' }',
    'http-request set-header X-Amzn-Trace-Id "Root=1-%[date,hex,bytes(8,8),lower]-%[uuid,regsub(-,,g),bytes(0,24)]" if !{ req.fhdr(X-Amzn-Trace-Id) -m found }',
  ])
  const https = section(configuration, 'frontend shop.443')
  t.strictSame(
    [https[0], ...https.slice(4, 7), https.at(-1)],
    [
      'bind 10.0.3.1:443 ssl crt "/certificates/one.pem" crt "/certificates/two.pem" alpn h2,http/1.1 ssl-min-ver TLSv1.2',
      'http-request set-var(txn.rule) int(1)',
      "http-request set-var(txn.rule) int(0) if { path -m reg '^/v1/.*$' } { method -m str GET PUT }",
      'http-request return status 404 hdr Server awselb/2.0 if { var(txn.rule) -m int 1 }',
      'use_backend shop.web if { var(txn.rule) -m int 0 }',
    ],
    'the rule with the highest priority is tested last, so it wins',
  )
  t.strictSame(section(configuration, 'backend shop.web'), [
    'option http-server-close',
    'http-reuse never',
    'timeout connect 5s',
    'timeout server 75s',
    'timeout tunnel 75s',
    'server targets abns@shop.web',
  ])
  t.strictSame(section(configuration, 'frontend shop.web.targets'), [
    'bind abns@shop.web',
    'timeout client 75s',
    'timeout http-request 75s',
    'default_backend shop.web.targets',
  ])
  t.strictSame(section(configuration, 'backend shop.web.targets'), [
    'balance leastconn',
    'http-reuse always',
    'source 10.0.3.1',
    'timeout connect 10s',
    'timeout server 60s',
    'timeout tunnel 60s',
    'http-request return status 503 <page> hdr Server awselb/2.0 if { nbsrv eq 0 } !{ stopping }',
    'http-request set-var(txn.started) date(0,ms)',
    'http-response set-var(txn.answered) bool(true)',
    'http-error status 503 <page> hdr Server awselb/2.0',
    'http-after-response set-status 504 reason "Gateway Time-out" if { status 503 } { srv_id -m found } !{ var(txn.answered) -m found } { date(0,ms),sub(txn.started) ge 10000 }',
    'http-after-response set-status 502 reason "Bad Gateway" if { status 503 } { srv_id -m found } !{ var(txn.answered) -m found }',
    'server t1 10.0.33.5:3000 weight 100 slowstart 30s',
    'server t2 10.0.33.6:3000 weight 100 slowstart 30s disabled',
    'server t3 127.0.0.1:1 weight 100 slowstart 30s disabled',
  ])
})

t.test('attributes of the load balancer', async (t) => {
  const change = (attributes: object) => {
    const balancer = loadBalancer('shop', [
      { protocol: 'HTTPS', port: 443, certificates: ['one'], rules: [forwardTo('web')] },
    ])
    Object.assign(balancer.attributes, attributes)
    const state = { loadBalancers: [balancer], targetGroups: [targetGroup('web', { protocol: 'HTTPS' })] }
    return renderConfiguration(state, context)
  }
  t.match(change({ idleTimeoutSeconds: 5 }), /timeout client 5s\n.*timeout http-request 5s\n/)
  t.match(change({ http2: false }), ' alpn http/1.1 ')
  t.match(change({ forwardedFor: 'remove' }), 'del-header X-Forwarded-For')
  t.notMatch(change({ forwardedFor: 'preserve' }), 'X-Forwarded-For')
  t.match(change({ clientPort: true }), 'X-Forwarded-For "%[src]:%[src_port]"')
  t.match(change({}), 'weight 100 ssl verify none', 'an HTTPS target group')
})

t.test('values of a rule cannot add configuration', async (t) => {
  const hostile = `x } y "' \\ $HOME\n  bind :1 #`
  const configuration = renderConfiguration(
    {
      loadBalancers: [
        loadBalancer('shop', [
          {
            protocol: 'HTTP',
            port: 80,
            certificates: [],
            rules: [
              {
                conditions: [
                  { Field: 'path-pattern', Values: [hostile] },
                  { Field: 'http-header', HttpHeaderConfig: { HttpHeaderName: hostile, Values: ['a'] } },
                  { Field: 'http-request-method', HttpRequestMethodConfig: { Values: [hostile] } },
                  { Field: 'source-ip', SourceIpConfig: { Values: [hostile] } },
                ],
                action: {
                  Type: 'fixed-response',
                  FixedResponseConfig: { StatusCode: hostile, ContentType: hostile, MessageBody: hostile },
                },
              },
              {
                conditions: [],
                action: { Type: 'redirect', RedirectConfig: { Host: hostile, StatusCode: undefined } },
              },
            ],
          },
        ]),
      ],
      targetGroups: [],
    },
    context,
  )
  t.notMatch(configuration, /\$HOME|^ *bind :1/m)
  t.match(
    configuration,
    /if \{ path -m reg '\^x\\x20\\x7d[^']*' \} \{ always_false \} \{ always_false \} \{ always_false \}$/m,
  )
})

t.test('an action that is not supported responds with 500', async (t) => {
  const configuration = renderConfiguration(
    {
      loadBalancers: [
        loadBalancer('shop', [
          {
            protocol: 'HTTP',
            port: 80,
            certificates: [],
            rules: [{ conditions: [], action: { Type: 'authenticate-oidc' } }],
          },
        ]),
      ],
      targetGroups: [],
    },
    context,
  )
  t.match(configuration, /http-request return status 500 .* if \{ var\(txn.rule\) -m int 0 \}/)
})
