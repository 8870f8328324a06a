import type { ElastiCache } from '../databases/elasticache.ts'
import type { Rds } from '../databases/rds.ts'
import { AwsError } from './aws-error.ts'
import type { Capacity, Launch } from './capacity.ts'
import { describeEksImages, getEksImageParameter } from './ec2/eks-images.ts'
import type { Fleets } from './ec2/fleet.ts'
import { describeSpotPriceHistory, getProducts, limitToCatalogue } from './ec2/instance-catalogue.ts'
import { addPodPrefixes, type NodeAddresses } from './ec2/pod-prefixes.ts'
import { changesInstances, type StateChanges } from './ec2/state-changes.ts'
import { type AwsRequest, type AwsResponse, operation, parameter } from './request.ts'
import { filterList } from './xml.ts'

export interface SupplementsOptions {
  rds: Pick<Rds, 'handle' | 'completeSecret'>
  elastiCache: Pick<ElastiCache, 'handle'>
  capacity: Capacity
  fleets: Fleets
  stateChanges: StateChanges
  nodes: () => Promise<NodeAddresses[]>
}

type Forward = (request: AwsRequest) => Promise<AwsResponse>
type Supplement = (request: AwsRequest, forward: Forward) => Promise<AwsResponse>

/** Handles a request that is signed for `service`, with what the emulator lacks; `forward` sends it to the emulator. */
export type Supplemented = (service: string, request: AwsRequest, forward: Forward) => Promise<AwsResponse>

/**
 * Adds to the emulator what clients of the box need and it lacks. Unlike the corrections of its responses, these
 * operations depend on the request or on the state of the box.
 */
export function supplement({
  rds,
  elastiCache,
  capacity,
  fleets,
  stateChanges,
  nodes,
}: SupplementsOptions): Supplemented {
  const withPodPrefixes: Supplement = async (request, forward) => {
    const response = await forward(request)
    return { ...response, body: Buffer.from(addPodPrefixes(response.body.toString(), await nodes())) }
  }
  const supplements: Readonly<Record<string, Supplement>> = {
    'ec2 CreateFleet': async (request, forward) => (await fleets.create(request)) ?? forward(request),
    'ec2 RunInstances': (request, forward) =>
      isDryRun(request) ? forward(request) : capacity.launch(launchOf(request), () => forward(request)),
    'ec2 DescribeInstances': withPodPrefixes,
    'ec2 DescribeNetworkInterfaces': withPodPrefixes,
    'ec2 DescribeInstanceTypes': (request, forward) => forward(limitToCatalogue(request)),
    'ec2 DescribeInstanceTypeOfferings': (request, forward) => forward(limitToCatalogue(request)),
    'ec2 DescribeSpotPriceHistory': async (request) => describeSpotPriceHistory(request),
    'ec2 DescribeImages': async (request, forward) => describeEksImages(request) ?? forward(request),
    'ec2 DescribeLaunchTemplates': (request, forward) => forward(withAllResults(request)),
    'iam ListInstanceProfiles': listInstanceProfiles,
    'pricing GetProducts': async (request) => getProducts(request),
    'secretsmanager GetSecretValue': async (request, forward) => rds.completeSecret(await forward(request)),
    'ssm GetParameter': async (request, forward) => getEksImageParameter(request) ?? forward(request),
  }
  return async (service, request, forward) => {
    const name = operation(request) ?? ''
    if (service === 'rds') return rds.handle(request, forward)
    if (service === 'elasticache') return elastiCache.handle(request)
    // The emulator performs these dry runs.
    if (service === 'ec2' && name.startsWith('Describe') && isDryRun(request)) {
      throw new AwsError('dryRun', 'Request would have succeeded, but DryRun flag is set.')
    }
    const response = await (supplements[`${service} ${name}`]?.(request, forward) ?? forward(request))
    if (response.status < 400 && changesInstances(service, name)) void stateChanges.announce()
    return response
  }
}

function isDryRun(request: AwsRequest): boolean {
  return parameter(request, 'DryRun') === 'true'
}

function launchOf(request: AwsRequest): Launch {
  return {
    count: Number(parameter(request, 'MinCount') ?? 1),
    type: parameter(request, 'InstanceType'),
    subnetId: parameter(request, 'SubnetId') ?? parameter(request, 'NetworkInterface.1.SubnetId'),
  }
}

/** The emulator returns 15 launch templates, without a token for the next ones. */
function withAllResults(request: AwsRequest): AwsRequest {
  const parameters = new URLSearchParams(request.body.toString())
  parameters.set('MaxResults', '10000')
  return { ...request, body: Buffer.from(parameters.toString()) }
}

/** The emulator ignores the path: Karpenter, which removes its unused profiles, would remove those of node groups. */
const listInstanceProfiles: Supplement = async (request, forward) => {
  const path = parameter(request, 'PathPrefix') ?? '/'
  const response = await forward(request)
  const isBelow = (profile: string) =>
    /<Path>([^<]*)<\/Path>/.exec(topLevel(profile))?.[1]?.startsWith(path) === true
  return {
    ...response,
    body: Buffer.from(filterList(response.body.toString(), 'InstanceProfiles', 'member', isBelow)),
  }
}

/** A profile without its roles, which have paths of their own. */
function topLevel(profile: string): string {
  return profile.replace(/<Roles>.*<\/Roles>/s, '')
}
