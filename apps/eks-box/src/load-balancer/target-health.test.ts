import t from 'tap'
import type { AwsRequest, AwsResponse } from '../aws/request.ts'
import { readSignature } from '../aws/signature.ts'
import { sign } from '../aws/testing.ts'
import { buildServer } from './server.ts'
import { LoadBalancing } from './target-health.ts'
import type { TargetHealth } from './targets.ts'
import { groupArn } from './testing.ts'

const emulated: AwsResponse = {
  status: 200,
  headers: { 'content-type': 'text/xml' },
  body: Buffer.from('moto'),
}

async function start(t: { teardown: (action: () => unknown) => void }, targets: TargetHealth[]) {
  let changes = 0
  const server = buildServer({
    refresh: async () => {
      changes++
    },
    healthOf: async (arn) => (arn === groupArn('web') ? targets : undefined),
  })
  const endpoint = await server.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => server.close())
  return { loadBalancing: new LoadBalancing(endpoint), changes: () => changes }
}

async function complete(
  loadBalancing: LoadBalancing,
  parameters: Record<string, string>,
  { service = 'elasticloadbalancing', response = emulated } = {},
): Promise<string> {
  const request: AwsRequest = {
    method: 'POST',
    url: '/',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: Buffer.from(new URLSearchParams(parameters).toString()),
  }
  const signature = readSignature(
    await sign(request, { accessKeyId: 'AKIAOPERATOR', secretAccessKey: 'secret', service }),
  )
  if (signature === undefined) throw new Error('the request is signed')
  return (await loadBalancing.complete(request, { signature }, response)).body.toString()
}

t.test('DescribeTargetHealth reports what the health checks have measured', async (t) => {
  const { loadBalancing } = await start(t, [
    { id: '10.0.33.5', port: 3000, healthCheckPort: 9000, state: 'healthy' },
    {
      ...{ id: '10.0.33.6', port: 3000, healthCheckPort: 9000, state: 'unhealthy' },
      ...{
        reason: 'Target.ResponseCodeMismatch',
        description: 'Health checks failed with these codes: <503>',
      },
    },
  ])
  const describe = { Action: 'DescribeTargetHealth', TargetGroupArn: groupArn('web') }
  const all = await complete(loadBalancing, describe)
  t.match(
    all,
    /<HealthCheckPort>9000<.*<Id>10\.0\.33\.5<.*<Port>3000<.*<State>healthy<\/State><\/TargetHealth>/,
  )
  t.match(all, '<State>unhealthy</State><Reason>Target.ResponseCodeMismatch</Reason>')
  t.match(all, 'codes: &lt;503&gt;')

  const some = await complete(loadBalancing, {
    ...describe,
    'Targets.member.1.Id': '10.0.33.6',
    'Targets.member.2.Id': '10.0.33.7',
    'Targets.member.2.Port': '80',
  })
  t.notMatch(some, '10.0.33.5')
  t.match(some, /<Id>10\.0\.33\.7<.*<State>unused<\/State><Reason>Target\.NotRegistered</)

  const error = { ...emulated, status: 400 }
  t.equal(await complete(loadBalancing, describe, { response: error }), 'moto', 'an error is passed on')
  const unknown = await complete(loadBalancing, { ...describe, TargetGroupArn: groupArn('new') })
  t.match(unknown, '<TargetHealthDescriptions></TargetHealthDescriptions>')
})

t.test('only changes to load balancers and certificates are reported', async (t) => {
  const { loadBalancing, changes } = await start(t, [])
  await complete(loadBalancing, { Action: 'DescribeLoadBalancers' })
  await complete(loadBalancing, { Action: 'CreateVpc' }, { service: 'ec2' })
  await complete(loadBalancing, { Action: 'CreateListener' }, { response: { ...emulated, status: 400 } })
  t.equal(changes(), 0)
  t.equal(await complete(loadBalancing, { Action: 'CreateListener' }), 'moto')
  await complete(loadBalancing, { Action: 'RequestCertificate' }, { service: 'acm' })
  t.equal(changes(), 2)
})

t.test('a change succeeds while the component is down, but the health is unavailable', async (t) => {
  const loadBalancing = new LoadBalancing('http://127.0.0.1:1')
  t.equal(await complete(loadBalancing, { Action: 'CreateListener' }), 'moto')
  await t.rejects(
    complete(loadBalancing, { Action: 'DescribeTargetHealth', TargetGroupArn: groupArn('web') }),
  )
})
