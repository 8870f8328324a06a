import { DescribeInstancesCommand, EC2Client, type EC2ClientConfig } from '@aws-sdk/client-ec2'

/** The private addresses of instances by their identifiers. An instance that does not exist has none. */
export async function instanceAddresses(
  options: EC2ClientConfig,
  ids: string[],
): Promise<Map<string, string>> {
  const ec2 = new EC2Client(options)
  // A filter, because with `InstanceIds` an identifier that does not exist is an error.
  const { Reservations = [] } = await ec2.send(
    new DescribeInstancesCommand({ Filters: [{ Name: 'instance-id', Values: ids }] }),
  )
  return new Map(
    Reservations.flatMap(({ Instances = [] }) => Instances).flatMap(({ InstanceId, PrivateIpAddress }) =>
      InstanceId === undefined || PrivateIpAddress === undefined
        ? []
        : [[InstanceId, PrivateIpAddress] as const],
    ),
  )
}
