/** `make cost`: an environment's monthly cost at rest, from the plans of its stacks. */
import { Command } from 'commander'
import { ActionableError, reportFailure } from 'shared/errors'
import { PRICES, type Prices } from 'shared/prices'
import { type CostLine, combine, line, renderCost } from './bill.ts'
import { alarm, logs, natAlarms } from './cloudwatch.ts'
import { controlPlane, images, instance, nodeGroup } from './compute.ts'
import { cache, database, secretLine } from './databases.ts'
import { endpoint, hostedZone, loadBalancer, webAcl } from './network.ts'
import { type CostPlan, type PlannedResource, readPlan, regionOf, resourcesOf } from './plan.ts'
import type { Context, Rule } from './pricing-rule.ts'
import { release } from './releases.ts'

/** Resource types without a price of their own. */
const FREE_TYPES: ReadonlySet<string> = new Set([
  // Public certificates for AWS's own services are free.
  'aws_acm_certificate',
  'aws_acm_certificate_validation',
  // CloudFront charges for traffic only, and not for the connection to the load balancer.
  'aws_cloudfront_distribution',
  'aws_cloudfront_vpc_origin',
  // An account's first three are free.
  'aws_cloudwatch_dashboard',
  'aws_cloudwatch_event_rule',
  'aws_cloudwatch_event_target',
  'aws_cloudwatch_log_resource_policy',
  'aws_db_parameter_group',
  'aws_db_subnet_group',
  'aws_default_security_group',
  'aws_ec2_tag',
  'aws_ecr_lifecycle_policy',
  'aws_eks_access_entry',
  'aws_eks_access_policy_association',
  'aws_eks_addon',
  'aws_eks_pod_identity_association',
  'aws_elasticache_subnet_group',
  // Its log group is priced.
  'aws_flow_log',
  'aws_iam_openid_connect_provider',
  'aws_iam_policy',
  'aws_iam_role',
  'aws_iam_role_policy',
  'aws_iam_role_policy_attachment',
  'aws_internet_gateway',
  'aws_kms_alias',
  // Its volumes are priced with the node group.
  'aws_launch_template',
  'aws_network_interface',
  'aws_route',
  // Priced with their zone, see hostedZone.
  'aws_route53_record',
  'aws_route_table',
  'aws_route_table_association',
  'aws_s3_bucket_lifecycle_configuration',
  'aws_s3_bucket_ownership_controls',
  'aws_s3_bucket_policy',
  'aws_s3_bucket_public_access_block',
  'aws_s3_bucket_server_side_encryption_configuration',
  'aws_s3_bucket_versioning',
  // The first 14 million calls per month are free.
  'aws_scheduler_schedule',
  'aws_scheduler_schedule_group',
  // Its secret is priced. The operator reads it every hour, which costs less than a cent.
  'aws_secretsmanager_secret_version',
  'aws_security_group',
  'aws_security_group_rule',
  // The first million requests per month are free; Karpenter's long polling makes an eighth of that.
  'aws_sqs_queue',
  'aws_sqs_queue_policy',
  // The first 1,000 emails and 100,000 calls of a webhook per month are free.
  'aws_sns_topic',
  'aws_sns_topic_policy',
  'aws_sns_topic_subscription',
  'aws_subnet',
  'aws_vpc',
  'aws_vpc_security_group_egress_rule',
  'aws_vpc_security_group_ingress_rule',
  'aws_wafv2_web_acl_association',
  'aws_wafv2_web_acl_logging_configuration',
  // Only budget actions and reports have a price, not alerts.
  'aws_budgets_budget',
  'null_resource',
  'terraform_data',
  'time_sleep',
])

/** Rounded up: state files and their old versions are far smaller. */
const STATE_BUCKET_GB = 1

const rules: Readonly<Record<string, Rule>> = {
  aws_eks_cluster: controlPlane,
  aws_eks_node_group: nodeGroup,
  aws_kms_key: ({ address }, { prices }) => [line(`KMS key ${address}`, 1, prices.prices.kmsKey)],
  aws_cloudwatch_log_group: logs,
  aws_cloudwatch_metric_alarm: alarm,
  aws_db_instance: database,
  aws_elasticache_replication_group: cache,
  aws_secretsmanager_secret: (_, { prices }) => [secretLine(prices)],
  aws_ecr_repository: images,
  aws_nat_gateway: (_, { prices }) => [line('NAT gateway', 1, prices.prices.natGateway)],
  aws_eip: ({ address }, { prices }) => [line(`public IPv4 address ${address}`, 1, prices.prices.publicIpv4)],
  aws_instance: instance,
  aws_vpc_endpoint: endpoint,
  aws_s3_bucket: ({ address }, { prices }) => [
    line(`S3 ${address}`, STATE_BUCKET_GB, prices.prices.s3Stored, 'holds at most 1 GB of Terraform states'),
  ],
  aws_wafv2_web_acl: webAcl,
  helm_release: release,
}

/**
 * The monthly cost of the resources of plans at rest: without load, and without Karpenter nodes except the one for
 * monitoring.
 *
 * @param on - the day to price for: a cluster costs more once its Kubernetes version leaves standard support
 * @throws ActionableError when a resource has no rule or price, or the plan's region is not that of the prices; the
 * total is never silently incomplete
 */
export function monthlyCost(plans: readonly CostPlan[], prices: Prices, on: Date): CostLine[] {
  const resources = plans.flatMap((plan) => plannedResources(plan, prices))
  const context: Context = { resources, prices, day: on.toISOString().slice(0, 10) }
  return combine([
    ...resources.flatMap((resource) => rules[resource.type]?.(resource, context) ?? []),
    ...loadBalancer(context),
    ...natAlarms(context),
    ...hostedZone(context),
  ])
}

/** The resources that a plan creates, after checking that all of them can be priced. */
function plannedResources(plan: CostPlan, prices: Prices): PlannedResource[] {
  if (plan.errored) {
    throw new ActionableError(
      'the plan has errors, so resources are missing from it',
      'fix what `terraform plan` reports, then plan again',
    )
  }
  const resources = resourcesOf(plan.planned_values.root_module).filter(({ mode }) => mode === 'managed')
  const unknown = new Set(
    resources.map(({ type }) => type).filter((type) => !FREE_TYPES.has(type) && !Object.hasOwn(rules, type)),
  )
  if (unknown.size > 0) {
    throw new ActionableError(
      `there is no rule for the cost of ${[...unknown].sort().join(', ')}`,
      'add a rule, or add it to FREE_TYPES, in scripts/src/cost/cost.ts, with its price in prices.json',
    )
  }
  const region = regionOf(plan)
  if (region !== prices.region && resources.some(({ type }) => Object.hasOwn(rules, type))) {
    throw new ActionableError(
      `the plan is for ${region ?? 'an unknown region'}, but the prices are for ${prices.region}`,
      'replace shared/src/prices.json by the prices of that region',
    )
  }
  return resources
}

if (import.meta.main) {
  new Command('cost')
    .description("Prints an environment's monthly cost at rest, from the plans of its stacks.")
    .argument('<plans...>', 'files with the output of `terraform show -json`')
    .action((files: string[]) =>
      console.log(renderCost(monthlyCost(files.map(readPlan), PRICES, new Date()))),
    )
    .parseAsync()
    .catch(reportFailure)
}
