data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  name = "fastify-eks"

  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  # The part of an ARN that follows the service's name.
  here   = "${var.region}:${local.account}"
  global = ":${local.account}"

  # Built from names, not references. If a policy refers to a resource's ARN, every plan that changes anything about the
  # resource, even a tag, also shows the policy as changed.
  github_arn       = "arn:${local.partition}:iam:${local.global}:oidc-provider/token.actions.githubusercontent.com"
  boundary_arn     = "arn:${local.partition}:iam:${local.global}:policy/${local.name}-boundary"
  state_bucket_arn = "arn:${local.partition}:s3:::${local.state_bucket}"
}
