import { DeleteNetworkInterfaceCommand, type EC2Client, paginateDescribeInstances } from '@aws-sdk/client-ec2'
import { ACCOUNT, REGION } from 'shared/box'
import type { AwsRequest, AwsResponse } from '../request.ts'

interface State {
  name: string
  /** Ids of its network interfaces. */
  interfaces: string[]
}

/** The states that an instance goes through, by the one that it is in at the end. */
const transitions: Readonly<Record<string, readonly string[]>> = {
  running: ['pending', 'running'],
  stopped: ['stopping', 'stopped'],
  terminated: ['shutting-down', 'terminated'],
}

/**
 * Does what the emulator omits when an instance changes. Announces the change to EventBridge: rules of the account
 * deliver it, for example to Karpenter's queue. Deletes the network interfaces of terminated instances.
 */
export class StateChanges {
  readonly #ec2: EC2Client
  readonly #send: (request: AwsRequest) => Promise<AwsResponse>
  #known = new Map<string, State>()
  #last: Promise<void> = Promise.resolve()

  /** @param send sends a request to the emulator. */
  constructor(ec2: EC2Client, send: (request: AwsRequest) => Promise<AwsResponse>) {
    this.#ec2 = ec2
    this.#send = send
  }

  /** Takes over the present states without an announcement. */
  async start(): Promise<void> {
    this.#known = await this.#read()
  }

  /** Announces what has changed since the last time. Failures are logged. */
  announce(): Promise<void> {
    this.#last = this.#last
      .then(() => this.#announce())
      .catch((error: unknown) => console.error('changes of instances are not announced:', error))
    return this.#last
  }

  async #announce(): Promise<void> {
    const now = await this.#read()
    const changed = [...now].filter(([id, { name }]) => this.#known.get(id)?.name !== name)
    this.#known = now
    const events = changed.flatMap(([id, { name }]) =>
      (transitions[name] ?? []).map((passed) => notification(id, passed)),
    )
    if (events.length > 0) await this.#send(putEvents(events))
    for (const [, { name, interfaces }] of changed) {
      if (name !== 'terminated') continue
      // If the emulator itself deleted them, the next instance would get the address, and its node the same name,
      // before the node of the terminated one is gone.
      for (const NetworkInterfaceId of interfaces) {
        await this.#ec2.send(new DeleteNetworkInterfaceCommand({ NetworkInterfaceId }))
      }
    }
  }

  async #read(): Promise<Map<string, State>> {
    const states = new Map<string, State>()
    for await (const { Reservations = [] } of paginateDescribeInstances({ client: this.#ec2 }, {})) {
      for (const { InstanceId = '', State, NetworkInterfaces = [] } of Reservations.flatMap(
        ({ Instances = [] }) => Instances,
      )) {
        const interfaces = NetworkInterfaces.map(({ NetworkInterfaceId = '' }) => NetworkInterfaceId)
        states.set(InstanceId, { name: State?.Name ?? '', interfaces })
      }
    }
    return states
  }
}

/** Whether a request may start or end instances. */
export function changesInstances(service: string, operation: string): boolean {
  return (
    (service === 'ec2' && /^(Run|Start|Stop|Terminate)Instances$/.test(operation)) ||
    (service === 'autoscaling' && !/^Describe/.test(operation))
  )
}

/** An event of EC2 (EC2 user guide, "Instance state change events"). */
function notification(id: string, state: string) {
  return {
    Source: 'aws.ec2',
    DetailType: 'EC2 Instance State-change Notification',
    Resources: [`arn:aws:ec2:${REGION}:${ACCOUNT}:instance/${id}`],
    Detail: JSON.stringify({ 'instance-id': id, state }),
  }
}

function putEvents(Entries: readonly object[]): AwsRequest {
  return {
    method: 'POST',
    url: '/',
    headers: {
      host: `events.${REGION}.amazonaws.com`,
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': 'AWSEvents.PutEvents',
      authorization: `AWS4-HMAC-SHA256 Credential=box/20260101/${REGION}/events/aws4_request`,
    },
    body: Buffer.from(JSON.stringify({ Entries })),
  }
}
