data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  name = "fastify-eks"

  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  # For ARNs: the part after the service's name.
  here   = "${var.region}:${local.account}"
  global = ":${local.account}"

  # Names, not references: a policy that reads an ARN from a resource is unknown, and shown as changed, in every
  # plan that changes as much as a tag of it.
  github_arn       = "arn:${local.partition}:iam:${local.global}:oidc-provider/token.actions.githubusercontent.com"
  boundary_arn     = "arn:${local.partition}:iam:${local.global}:policy/${local.name}-boundary"
  state_bucket_arn = "arn:${local.partition}:s3:::${local.state_bucket}"
}
