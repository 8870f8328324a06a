/** Operates a separate box as a user does: with the make targets of the README, kubectl and the AWS CLI. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { EC2Client } from '@aws-sdk/client-ec2'
import { execa } from 'execa'
import { awsEnvironment, kubeconfigPath, portVariables, REGION, readBoxConfig } from 'shared/box'
import { programPath } from 'shared/tools'
import type { ComponentName } from '../src/components/component.ts'
import { runningBox } from '../src/lifecycle/box.ts'
import { openPort } from '../src/lifecycle/ports.ts'
import type { Change, KubernetesObject, Observation } from './objects.ts'

export const repository = resolve(import.meta.dirname, '../../..')

/** Finds `count` free ports among the hundred from `first` on. */
async function freePorts(first: number, count: number): Promise<string[]> {
  const free: string[] = []
  for (let port = first; free.length < count; port++) {
    if (port === first + 100) throw new Error(`127.0.0.1 has fewer than ${count} free ports from ${first} on`)
    const listener = await openPort(port, 'port').catch(() => undefined)
    if (listener === undefined) continue
    listener.close()
    free.push(String(port))
  }
  return free
}

/**
 * Helm values for tests that count failed requests. A pod refuses requests while its event loop is late. On a machine that
 * other programs keep busy, it can be late for reasons that these tests do not examine.
 */
export const WITHOUT_LOAD_SHEDDING = { config: { pressure: { maxEventLoopDelayMilliseconds: 0 } } }

/** Queries for everything in the account that costs money or blocks the deletion of a VPC, by what they list. */
export const RESOURCES: Readonly<Record<string, readonly string[]>> = {
  clusters: ['eks', 'list-clusters', '--query', 'clusters'],
  repositories: ['ecr', 'describe-repositories', '--query', 'repositories'],
  databases: ['rds', 'describe-db-instances', '--query', 'DBInstances'],
  caches: ['elasticache', 'describe-replication-groups', '--query', 'ReplicationGroups'],
  secrets: ['secretsmanager', 'list-secrets', '--query', 'SecretList'],
  volumes: ['ec2', 'describe-volumes', '--query', 'Volumes'],
  'log groups': ['logs', 'describe-log-groups', '--query', 'logGroups'],
  'Auto Scaling groups': ['autoscaling', 'describe-auto-scaling-groups', '--query', 'AutoScalingGroups'],
  'launch templates': ['ec2', 'describe-launch-templates', '--query', 'LaunchTemplates'],
  'instance profiles': ['iam', 'list-instance-profiles', '--query', 'InstanceProfiles'],
  'running instances': [
    ...['ec2', 'describe-instances', '--query'],
    'Reservations[].Instances[?State.Name!=`terminated`][].InstanceId',
  ],
  'load balancers': ['elbv2', 'describe-load-balancers', '--query', 'LoadBalancers'],
  'target groups': ['elbv2', 'describe-target-groups', '--query', 'TargetGroups'],
  'security groups': [
    ...['ec2', 'describe-security-groups', '--query'],
    'SecurityGroups[?GroupName!=`default`].GroupName',
  ],
}

/**
 * What the stack `network` creates, by what it is; the box's own network has other resources of these kinds. Network
 * interfaces are not among them, because the emulator keeps those of deleted NAT gateways.
 */
export const NETWORK_RESOURCES: Readonly<Record<string, readonly string[]>> = {
  VPCs: ['ec2', 'describe-vpcs', '--query', 'Vpcs[].VpcId'],
  subnets: ['ec2', 'describe-subnets', '--query', 'Subnets[].SubnetId'],
  'route tables': ['ec2', 'describe-route-tables', '--query', 'RouteTables[].RouteTableId'],
  'internet gateways': [
    ...['ec2', 'describe-internet-gateways', '--query', 'InternetGateways[].InternetGatewayId'],
  ],
  'NAT gateways': [
    ...['ec2', 'describe-nat-gateways', '--query'],
    'NatGateways[?State!=`deleted`].NatGatewayId',
  ],
  addresses: ['ec2', 'describe-addresses', '--query', 'Addresses[].AllocationId'],
  endpoints: [
    ...['ec2', 'describe-vpc-endpoints', '--query'],
    'VpcEndpoints[?State!=`deleted`].VpcEndpointId',
  ],
  'flow logs': ['ec2', 'describe-flow-logs', '--query', 'FlowLogs[].FlowLogId'],
}

/**
 * Waits until `probe` returns a value, and returns it.
 *
 * @throws Error after ten minutes, with the description of what did not happen.
 */
export async function eventually<Result>(
  what: string,
  probe: () => Promise<Result | undefined>,
): Promise<Result> {
  const deadline = Date.now() + 600_000
  for (;;) {
    const result = await probe()
    if (result !== undefined) return result
    if (Date.now() > deadline) throw new Error(`this did not happen: ${what}`)
    await sleep(500)
  }
}

/**
 * Selects a box for the tests of one file.
 *
 * @param firstPort - where to start looking for free ports; below 32768, the kernel's range for outgoing connections
 * @param settings - further variables for all make targets
 */
export async function operate(name: string, firstPort: number, settings: Record<string, string> = {}) {
  const variables = Object.values(portVariables)
  const ports = await freePorts(firstPort, variables.length)
  const environment: Record<string, string> = {
    BOX_NAME: name,
    ENV: 'local',
    // Do not use the cluster of the caller's shell.
    KUBECONFIG: '',
    ...settings,
    ...Object.fromEntries(variables.map((variable, index) => [variable, ports[index] ?? ''])),
  }
  const config = readBoxConfig({ ...process.env, ...environment })

  /** Runs a make target and returns its output. `failing` says whether it has to fail. */
  async function make(target: string, extra: Record<string, string> = {}, failing = false) {
    const result = await execa('make', ['--no-print-directory', target], {
      cwd: repository,
      env: { ...environment, ...extra },
      all: true,
      reject: false,
    })
    if (result.failed !== failing)
      throw new Error(`make ${target} ended with ${result.exitCode}:\n${result.all}`)
    return result.all
  }

  /**
   * Runs a make target and interrupts it as Ctrl-C does, `wait` milliseconds after the first line that matches `moment`.
   *
   * @param onLine receives every line, before the interruption that it may cause.
   * @returns the output; the target may have ended before the interruption.
   */
  async function interrupt(
    target: string,
    moment: RegExp,
    wait: number,
    onLine: (line: string) => Promise<void> = async () => {},
  ): Promise<string> {
    const running = execa('make', ['--no-print-directory', target], {
      cwd: repository,
      env: environment,
      all: true,
      reject: false,
      detached: true,
    })
    let begun = false
    for await (const line of running.iterable({ from: 'all' })) {
      await onLine(line)
      if (begun || !moment.test(line)) continue
      begun = true
      await sleep(wait)
      // To make and all its child processes, unless make has already ended.
      if (existsSync(`/proc/${running.pid}`)) process.kill(-Number(running.pid), 'SIGINT')
    }
    return (await running).all
  }

  /** Runs the AWS CLI against the box and returns its output, parsed if it is JSON. */
  async function aws(...args: string[]) {
    const { stdout } = await execa(programPath(config, 'aws'), args, { env: awsEnvironment(config) })
    return stdout.startsWith('{') || stdout.startsWith('[') ? JSON.parse(stdout) : stdout
  }

  async function kubectl(...args: string[]): Promise<string> {
    const kubeconfig = ['--kubeconfig', kubeconfigPath(config)]
    const { stdout } = await execa(programPath(config, 'kubectl'), [...kubeconfig, ...args])
    return stdout
  }

  /** Creates or changes objects of the cluster. */
  async function apply(...items: object[]): Promise<void> {
    const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
    const kubeconfig = ['--kubeconfig', kubeconfigPath(config)]
    await execa(programPath(config, 'kubectl'), [...kubeconfig, 'apply', '--filename', '-'], { input })
  }

  /** Lists objects of the cluster; the arguments are those of `kubectl get`. */
  async function list<Item>(...args: string[]): Promise<Item[]> {
    return (JSON.parse(await kubectl('get', ...args, '--output=json')) as { items: Item[] }).items
  }

  /** Records the changes of objects; the arguments are those of `kubectl get`. */
  function observe<Item extends KubernetesObject>(...args: string[]): Observation<Item> {
    const watching = execa(
      programPath(config, 'kubectl'),
      [
        ...['--kubeconfig', kubeconfigPath(config), 'get', ...args],
        ...['--watch', '--output-watch-events', '--output=json'],
      ],
      { reject: false, buffer: false },
    )
    const changes: Change<Item>[] = []
    const reading = (async () => {
      for await (const line of watching.iterable()) {
        changes.push({ ...(JSON.parse(line) as Omit<Change<Item>, 'time'>), time: Date.now() })
      }
    })()
    const stop = async () => {
      watching.kill()
      await reading
    }
    return { changes, stop }
  }

  /** A client of the box's EC2. The AWS CLI takes a second of processor time for each request. */
  function ec2(): EC2Client {
    const env = awsEnvironment(config)
    return new EC2Client({
      region: REGION,
      endpoint: env['AWS_ENDPOINT_URL'] ?? '',
      credentials: {
        accessKeyId: env['AWS_ACCESS_KEY_ID'] ?? '',
        secretAccessKey: env['AWS_SECRET_ACCESS_KEY'] ?? '',
      },
    })
  }

  /** Runs a command in the box's namespaces. */
  async function exec(...command: string[]): Promise<void> {
    await execa('node', ['apps/eks-box/src/cli.ts', 'exec', ...command], {
      cwd: repository,
      env: environment,
    })
  }

  /** Kills or hangs a component, and waits until the box has restarted it. */
  async function killAndRecover(name: ComponentName, signal: 'KILL' | 'STOP' = 'KILL'): Promise<void> {
    const status = async () =>
      (await runningBox(config))?.components.find((component) => component.name === name)
    const before = await status()
    if (before?.pid === undefined) throw new Error(`${name} is not running`)
    await exec('kill', `-${signal}`, String(before.pid))
    const deadline = Date.now() + 180_000
    for (;;) {
      const now = await status()
      if (now?.state === 'ready' && now.restarts > before.restarts) return
      if (Date.now() > deadline) throw new Error(`${name} did not come back: ${JSON.stringify(now)}`)
      await sleep(200)
    }
  }

  /** Waits until the service responds; resolves to the last response, for the message of a failed assertion. */
  async function served(): Promise<string> {
    const deadline = Date.now() + 180_000
    for (;;) {
      const last = await fetch(`http://127.0.0.1:${config.ports.service}/readyz`).then(
        async (response) => `${response.status} ${await response.text()}`,
        String,
      )
      if (last.startsWith('200') || Date.now() > deadline) return last
      await sleep(500)
    }
  }

  return {
    ...{ environment, config, make, interrupt, aws, kubectl, apply, list },
    ...{ observe, ec2, exec, killAndRecover, served },
  }
}
