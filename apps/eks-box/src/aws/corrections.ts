import { REGION } from 'shared/box'

/**
 * Corrects responses of the emulator that differ from AWS in a way that breaks clients. Each entry, by operation, turns
 * the emulator's response body into the one that AWS would send.
 */
export const corrections: ReadonlyMap<string, (body: string) => string> = new Map([
  ...['DescribeInstances', 'RunInstances', 'DescribeNetworkInterfaces'].map(
    (operation): [string, (body: string) => string] => [
      operation,
      (body) => addSpotRequest(correctDomain(body)),
    ],
  ),
  /** moto lists the template's own tags among those of its instances, which makes every Terraform plan differ. */
  [
    'DescribeLaunchTemplateVersions',
    (body) =>
      body.replace(/<item><resourceType>launch-template<\/resourceType><tagSet>.*?<\/tagSet><\/item>/gs, ''),
  ],
])

/** moto gives instances of every region the domain of us-east-1. A node's name is its private DNS name. */
function correctDomain(body: string): string {
  return body.replace(/\b(ip(?:-\d+){4})\.ec2\.internal\b/g, `$1.${REGION}.compute.internal`)
}

/** moto does not give spot instances the id of their request, by which Karpenter recognises them. */
function addSpotRequest(body: string): string {
  return body.replace(
    /(<instanceLifecycle>spot<\/instanceLifecycle>)(.*?<instanceId>i-(\w{8}))/gs,
    '$1<spotInstanceRequestId>sir-$3</spotInstanceRequestId>$2',
  )
}
