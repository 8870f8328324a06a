import {
  AllocateAddressCommand,
  AssociateRouteTableCommand,
  AttachInternetGatewayCommand,
  CreateInternetGatewayCommand,
  CreateNatGatewayCommand,
  CreateRouteCommand,
  CreateRouteTableCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  EC2Client,
  ModifySubnetAttributeCommand,
  ModifyVpcAttributeCommand,
  type ResourceType,
} from '@aws-sdk/client-ec2'
import {
  AttachUserPolicyCommand,
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  IAMClient,
} from '@aws-sdk/client-iam'
import { CreateHostedZoneCommand, Route53Client } from '@aws-sdk/client-route-53'
import type { AccessKey } from 'shared/box'
import { ACCOUNT, REGION } from 'shared/box'
import { OPERATOR } from '../cluster.ts'

/** The existing network of a company, one row per availability zone. */
const network = {
  vpc: '10.0.0.0/16',
  zones: [
    { zone: `${REGION}a`, public: '10.0.0.0/22', private: '10.0.32.0/19' },
    { zone: `${REGION}b`, public: '10.0.4.0/22', private: '10.0.64.0/19' },
    { zone: `${REGION}c`, public: '10.0.8.0/22', private: '10.0.96.0/19' },
  ],
} as const

/** The company's domain. Its public hosted zone is in the account. */
const DOMAIN = 'company.example'

/** Roles that CI and people assume. Access entries decide what they may do in the cluster. */
const roles = ['fastify-eks-deploy', 'fastify-eks-readonly'] as const

/**
 * Fills an empty account with the resources that a company already has: a VPC with public and private subnets in three
 * zones and their gateways, an operator, roles for CI and readers, and a domain.
 * The order must stay the same, because `infrastructure-hcl/environments/local` refers to the resulting identifiers.
 *
 * @param endpoint URL of the emulated AWS.
 * @param credentials the box's access key.
 * @returns the operator's access key.
 */
export async function seedAccount(endpoint: string, credentials: AccessKey): Promise<AccessKey> {
  const options = { endpoint, region: REGION, credentials }
  await seedNetwork(new EC2Client(options))
  const key = await seedPrincipals(new IAMClient(options))
  await seedDomain(new Route53Client(options))
  return key
}

async function seedNetwork(ec2: EC2Client): Promise<void> {
  const { Vpc } = await ec2.send(
    new CreateVpcCommand({ CidrBlock: network.vpc, TagSpecifications: named('vpc', 'company') }),
  )
  const VpcId = Vpc?.VpcId
  for (const attribute of ['EnableDnsSupport', 'EnableDnsHostnames'] as const) {
    await ec2.send(new ModifyVpcAttributeCommand({ VpcId, [attribute]: { Value: true } }))
  }
  const subnets = { public: [] as (string | undefined)[], private: [] as (string | undefined)[] }
  for (const kind of ['public', 'private'] as const) {
    for (const row of network.zones) {
      const { Subnet } = await ec2.send(
        new CreateSubnetCommand({
          VpcId,
          AvailabilityZone: row.zone,
          CidrBlock: row[kind],
          TagSpecifications: named('subnet', `company-${kind}-${row.zone}`),
        }),
      )
      subnets[kind].push(Subnet?.SubnetId)
    }
  }
  for (const SubnetId of subnets.public) {
    await ec2.send(new ModifySubnetAttributeCommand({ SubnetId, MapPublicIpOnLaunch: { Value: true } }))
  }
  const { InternetGateway } = await ec2.send(new CreateInternetGatewayCommand({}))
  const GatewayId = InternetGateway?.InternetGatewayId
  await ec2.send(new AttachInternetGatewayCommand({ VpcId, InternetGatewayId: GatewayId }))
  const { AllocationId } = await ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }))
  const { NatGateway } = await ec2.send(
    new CreateNatGatewayCommand({ SubnetId: subnets.public[0], AllocationId }),
  )
  await route(ec2, VpcId, subnets.public, { GatewayId })
  await route(ec2, VpcId, subnets.private, { NatGatewayId: NatGateway?.NatGatewayId })
}

async function route(
  ec2: EC2Client,
  VpcId: string | undefined,
  subnets: (string | undefined)[],
  target: { GatewayId?: string | undefined; NatGatewayId?: string | undefined },
): Promise<void> {
  const { RouteTable } = await ec2.send(new CreateRouteTableCommand({ VpcId }))
  const RouteTableId = RouteTable?.RouteTableId
  await ec2.send(new CreateRouteCommand({ RouteTableId, DestinationCidrBlock: '0.0.0.0/0', ...target }))
  for (const SubnetId of subnets) await ec2.send(new AssociateRouteTableCommand({ RouteTableId, SubnetId }))
}

async function seedPrincipals(iam: IAMClient): Promise<AccessKey> {
  await iam.send(new CreateUserCommand({ UserName: OPERATOR }))
  await iam.send(
    new AttachUserPolicyCommand({
      UserName: OPERATOR,
      PolicyArn: 'arn:aws:iam::aws:policy/AdministratorAccess',
    }),
  )
  const AssumeRolePolicyDocument = JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` } },
    ],
  })
  for (const RoleName of roles) await iam.send(new CreateRoleCommand({ RoleName, AssumeRolePolicyDocument }))
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: OPERATOR }))
  if (AccessKey?.AccessKeyId === undefined || AccessKey.SecretAccessKey === undefined) {
    throw new TypeError('the emulator created an access key without a secret')
  }
  return { accessKeyId: AccessKey.AccessKeyId, secretAccessKey: AccessKey.SecretAccessKey }
}

async function seedDomain(route53: Route53Client): Promise<void> {
  await route53.send(new CreateHostedZoneCommand({ Name: DOMAIN, CallerReference: 'company' }))
}

function named(ResourceType: ResourceType, Value: string) {
  return [{ ResourceType, Tags: [{ Key: 'Name', Value }] }]
}
