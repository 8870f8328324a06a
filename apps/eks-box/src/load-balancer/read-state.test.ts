import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { CreateSubnetCommand, CreateVpcCommand, EC2Client, RunInstancesCommand } from '@aws-sdk/client-ec2'
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  CreateRuleCommand,
  CreateTargetGroupCommand,
  ElasticLoadBalancingV2Client,
  ModifyLoadBalancerAttributesCommand,
  ModifyTargetGroupAttributesCommand,
  RegisterTargetsCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { execa } from 'execa'
import t from 'tap'
import { instanceAddresses } from './instance-addresses.ts'
import { readState } from './read-state.ts'

/** A python3 with moto, such as `venv/bin/python3` in the box's tool `aws`. */
const python = process.env['BOX_AWS_PYTHON']
const skip = python === undefined && 'BOX_AWS_PYTHON must be a python3 with moto'

async function startMoto(t: { teardown: (action: () => unknown) => void }): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  server.close()
  await once(server, 'close')
  const moto = execa(python ?? '', ['-m', 'moto.server', '-p', String(port)], {
    reject: false,
    stdio: 'ignore',
  })
  t.teardown(async () => {
    moto.kill()
    await moto
  })
  const endpoint = `http://127.0.0.1:${port}`
  while (!(await fetch(`${endpoint}/moto-api/`).catch(() => undefined))?.ok) await sleep(100)
  return endpoint
}

t.test('the state of the account is read as the emulator stores it', { skip }, async (t) => {
  const options = {
    endpoint: await startMoto(t),
    region: 'eu-central-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  }
  const ec2 = new EC2Client(options)
  const elb = new ElasticLoadBalancingV2Client(options)
  t.strictSame(await readState(elb, (ids) => instanceAddresses(options, ids)), {
    loadBalancers: [],
    targetGroups: [],
  })

  const { Vpc } = await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))
  const { Subnet } = await ec2.send(
    new CreateSubnetCommand({
      VpcId: Vpc?.VpcId,
      CidrBlock: '10.0.0.0/22',
      AvailabilityZone: 'eu-central-1a',
    }),
  )
  const create = async (Name: string, Type?: 'network') => {
    const Subnets = [Subnet?.SubnetId ?? '']
    const { LoadBalancers } = await elb.send(new CreateLoadBalancerCommand({ Name, Subnets, Type }))
    return LoadBalancers?.[0]?.LoadBalancerArn
  }
  const LoadBalancerArn = await create('shop')
  await create('ignored', 'network')
  await create('not\na name')
  const createGroup = async (Name: string, settings = {}) => {
    const { TargetGroups } = await elb.send(
      new CreateTargetGroupCommand({
        ...{ Name, VpcId: Vpc?.VpcId, Protocol: 'HTTP', Port: 80, TargetType: 'ip' },
        ...settings,
      }),
    )
    return TargetGroups?.[0]?.TargetGroupArn ?? ''
  }
  const web = await createGroup('web', {
    HealthCheckPath: '/readyz',
    HealthCheckPort: '9000',
    HealthCheckIntervalSeconds: 5,
    HealthCheckTimeoutSeconds: 4,
    HealthyThresholdCount: 2,
    UnhealthyThresholdCount: 3,
    Matcher: { HttpCode: '200-299' },
  })
  const vms = await createGroup('vms', { TargetType: 'instance', Port: 8080 })
  await elb.send(
    new ModifyTargetGroupAttributesCommand({
      TargetGroupArn: web,
      Attributes: [
        { Key: 'deregistration_delay.timeout_seconds', Value: '20' },
        { Key: 'slow_start.duration_seconds', Value: '30' },
        { Key: 'load_balancing.algorithm.type', Value: 'least_outstanding_requests' },
      ],
    }),
  )
  await elb.send(
    new ModifyLoadBalancerAttributesCommand({
      LoadBalancerArn,
      Attributes: [
        { Key: 'idle_timeout.timeout_seconds', Value: '90' },
        { Key: 'routing.http.xff_header_processing.mode', Value: 'remove' },
      ],
    }),
  )
  await elb.send(
    new RegisterTargetsCommand({
      TargetGroupArn: web,
      Targets: [{ Id: '10.0.33.5', Port: 3000 }, { Id: '10.0.33.6' }],
    }),
  )
  const { Instances } = await ec2.send(
    new RunInstancesCommand({ ImageId: 'ami-1', MinCount: 1, MaxCount: 1, SubnetId: Subnet?.SubnetId }),
  )
  const { InstanceId = '', PrivateIpAddress } = Instances?.[0] ?? {}
  await elb.send(new RegisterTargetsCommand({ TargetGroupArn: vms, Targets: [{ Id: InstanceId }] }))
  const forward = [{ Type: 'forward' as const, TargetGroupArn: vms }]
  const { Listeners } = await elb.send(
    new CreateListenerCommand({ LoadBalancerArn, Protocol: 'HTTP', Port: 80, DefaultActions: forward }),
  )
  for (const [Priority, path] of [
    [20, '/second'],
    [3, '/first'],
  ] as const) {
    await elb.send(
      new CreateRuleCommand({
        ListenerArn: Listeners?.[0]?.ListenerArn,
        Priority,
        Conditions: [{ Field: 'path-pattern', PathPatternConfig: { Values: [path] } }],
        Actions: [
          {
            Type: 'forward',
            ForwardConfig: { TargetGroups: [{ TargetGroupArn: web, Weight: 9 }, { TargetGroupArn: vms }] },
          },
        ],
      }),
    )
  }
  const { loadBalancers, targetGroups } = await readState(elb, (ids) => instanceAddresses(options, ids))
  t.match(loadBalancers, [
    {
      arn: LoadBalancerArn,
      name: 'shop',
      dnsName: 'shop-1.eu-central-1.elb.amazonaws.com',
      attributes: { idleTimeoutSeconds: 90, http2: true, forwardedFor: 'remove', clientPort: false },
      listeners: [
        {
          protocol: 'HTTP',
          port: 80,
          certificates: [],
          rules: [
            { conditions: [{ PathPatternConfig: { Values: ['/first'] } }] },
            { conditions: [{ PathPatternConfig: { Values: ['/second'] } }] },
            { conditions: [], action: { Type: 'forward', TargetGroupArn: vms } },
          ],
        },
      ],
    },
  ])
  t.equal(loadBalancers.length, 1, 'other types and invalid names are left out')
  t.match(loadBalancers[0]?.listeners[0]?.rules[0]?.action.ForwardConfig?.TargetGroups, [
    { TargetGroupArn: web, Weight: 9 },
    { TargetGroupArn: vms, Weight: 1 },
  ])
  t.strictSame(targetGroups, [
    {
      arn: vms,
      name: 'vms',
      protocol: 'HTTP',
      algorithm: 'round_robin',
      deregistrationDelaySeconds: 300,
      slowStartSeconds: 0,
      healthCheck: {
        protocol: 'HTTP',
        path: '/',
        matcher: '200',
        intervalSeconds: 30,
        timeoutSeconds: 5,
        healthyThreshold: 5,
        unhealthyThreshold: 2,
      },
      targets: [{ id: InstanceId, port: 8080, address: PrivateIpAddress }],
    },
    {
      arn: web,
      name: 'web',
      protocol: 'HTTP',
      algorithm: 'least_outstanding_requests',
      deregistrationDelaySeconds: 20,
      slowStartSeconds: 30,
      healthCheck: {
        protocol: 'HTTP',
        port: 9000,
        path: '/readyz',
        matcher: '200-299',
        intervalSeconds: 5,
        timeoutSeconds: 4,
        healthyThreshold: 2,
        unhealthyThreshold: 3,
      },
      targets: [
        { id: '10.0.33.5', port: 3000, address: '10.0.33.5' },
        { id: '10.0.33.6', port: 80, address: '10.0.33.6' },
      ],
    },
  ])
})
