/**
 * The stack edge in a box of its own: certificate and record before and after the deployment, HTTPS through the load
 * balancer, the web ACL, CloudFront, and a destroy that leaves only the hosted zone's own records.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import t from 'tap'
import { boxPaths } from '../../src/state-directory.ts'
import { operate, repository } from '../operator.ts'

const HOST = 'tasks.company.example'
const { environment, config, make, aws, kubectl } = await operate('e2e-edge', 25_400)
const { pki, run } = boxPaths(config)
const edge = (target: string, args = '') => make(target, { STACK: 'edge', ARGS: args })
const WAF = '-var=waf={enabled=true}'
const CLOUDFRONT = '-var=cloudfront={enabled=true}'

/** Responses of the load balancer to requests for a host, with the header lines. */
async function request(url: string): Promise<string> {
  const { port, hostname, protocol } = new URL(url)
  const hosts = readFileSync(join(run, 'load-balancers.hosts'), 'utf8')
  const address = hosts.split(/\s/)[0]
  const to = `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}:${address}`
  const options = ['-sS', '-i', '--cacert', join(pki, 'ca.crt'), '--resolve', to]
  const { all } = await execa('node', ['apps/eks-box/src/cli.ts', 'exec', 'curl', ...options, url], {
    cwd: repository,
    env: environment,
    all: true,
    reject: false,
  })
  return all
}

/** Where the zone's records of a type lead, without those of the zone itself. Route 53 can end names with a dot. */
async function records(type: string): Promise<string[]> {
  const { HostedZones } = await aws('route53', 'list-hosted-zones')
  const zone = HostedZones.find(({ Name }: { Name: string }) => Name === 'company.example.')
  const { ResourceRecordSets } = await aws(
    ...['route53', 'list-resource-record-sets', '--hosted-zone-id', zone.Id],
  )
  return ResourceRecordSets.filter(
    ({ Type, Name }: { Type: string; Name: string }) => Type === type && Name !== 'company.example.',
  ).map(
    ({ AliasTarget }: { AliasTarget?: { DNSName: string } }) => AliasTarget?.DNSName.replace(/\.$/, '') ?? '',
  )
}

const webAcls = async (scope: string, region: string): Promise<string[]> =>
  (await aws('wafv2', 'list-web-acls', '--scope', scope, '--region', region)).WebACLs.map(
    ({ Name }: { Name: string }) => Name,
  )

async function loadBalancer() {
  const { LoadBalancers } = await aws('elbv2', 'describe-load-balancers')
  return LoadBalancers[0]
}

await make('down')
t.teardown(async () => {
  // `make down` removes the logs, which explain a failure.
  if (!t.passing() && existsSync(config.stateDir)) await make('logs-export')
  await make('down')
})
for (const target of ['box', 'apply', 'build', 'push']) await make(target)

await t.test('the stack is only applied by name', async (t) => {
  t.notMatch(await make('plan'), /^edge/m)
})

await t.test('before the deployment there is a certificate, but no record of the service', async (t) => {
  t.match(await edge('apply'), /^applied edge \(local\)/m)
  t.strictSame(await records('A'), [])
  t.equal((await records('CNAME')).length, 1, 'ACM validates the certificate by this record')
  t.match(await edge('plan'), /^edge \(local\): no changes$/m)
})

await t.test('the load balancer serves HTTPS with HSTS, and redirects HTTP', async (t) => {
  const deployed = await make('deploy')
  t.match(deployed, `is served at https://${HOST}`)
  t.match(deployed, 'run `make apply STACK=edge ENV=local`')
  const secure = await request(`https://${HOST}/readyz`)
  t.match(secure, /^HTTP\/2 200/)
  t.match(secure, /^strict-transport-security: max-age=31536000/im)
  t.match(
    await request(`http://${HOST}/readyz`),
    /301[\s\S]*location: https:\/\/tasks\.company\.example:443\/readyz/i,
  )
  t.match(await request('https://other.company.example/readyz'), /no alternative certificate|SSL/)
})

await t.test('the next apply leads the name to the load balancer', async (t) => {
  await edge('apply')
  t.strictSame(await records('A'), [(await loadBalancer()).DNSName])
  t.match(await edge('plan'), /^edge \(local\): no changes$/m)
  t.notMatch(await make('deploy'), /run `make apply STACK=edge/)
})

await t.test('the web ACL can be switched on and off', async (t) => {
  const attached = async () =>
    aws('wafv2', 'get-web-acl-for-resource', '--resource-arn', (await loadBalancer()).LoadBalancerArn)
  await edge('apply', WAF)
  t.match(await attached(), { WebACL: { Name: 'fastify-eks-cluster' } })
  t.match(await edge('plan', WAF), /^edge \(local\): no changes$/m)
  await edge('apply')
  t.strictSame(await webAcls('REGIONAL', 'eu-central-1'), [])
})

await t.test(
  'with CloudFront, the load balancer becomes internal and the name leads to CloudFront',
  async (t) => {
    const values = join(t.testdir(), 'values.yaml')
    // Everyone could reach the routes for load tests through CloudFront.
    writeFileSync(values, 'config: { loadEndpointsEnabled: false }\ningress: { inboundCidrs: [] }\n')
    await edge('apply', `${WAF} ${CLOUDFRONT}`)
    t.strictSame(await records('A'), [(await loadBalancer()).DNSName], 'until it is internal')
    t.match(await make('deploy', {}, true), /everyone can reach the Ingress through CloudFront/)
    t.match(await make('deploy', { VALUES: values }), 'leads to a load balancer that was replaced')
    t.equal((await loadBalancer()).Scheme, 'internal')
    await edge('apply', `${WAF} ${CLOUDFRONT}`)
    const { DistributionList } = await aws('cloudfront', 'list-distributions')
    t.strictSame(await records('A'), [DistributionList.Items[0].DomainName])
    t.strictSame(await webAcls('REGIONAL', 'eu-central-1'), [])
    t.strictSame(await webAcls('CLOUDFRONT', 'us-east-1'), ['fastify-eks-cluster-cloudfront'])
    t.match(await edge('plan', `${WAF} ${CLOUDFRONT}`), /^edge \(local\): no changes$/m)
  },
)

await t.test('destroy leaves nothing but the zone', async (t) => {
  t.match(await edge('destroy'), /^destroyed edge \(local\)$/m)
  t.equal(await kubectl('get', 'ingress', '--all-namespaces', '--output=name'), '')
  for (const type of ['A', 'AAAA', 'CNAME']) t.strictSame(await records(type), [], type)
  for (const region of ['eu-central-1', 'us-east-1']) {
    const { CertificateSummaryList } = await aws('acm', 'list-certificates', '--region', region)
    t.strictSame(CertificateSummaryList, [], region)
    const query = ['--log-group-name-prefix', 'aws-waf-logs-', '--region', region]
    t.strictSame((await aws('logs', 'describe-log-groups', ...query)).logGroups, [], region)
  }
  t.strictSame(await webAcls('CLOUDFRONT', 'us-east-1'), [])
  t.strictSame(await aws('cloudfront', 'list-distributions', '--query', 'DistributionList.Items || `[]`'), [])
})
