data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  name = "fastify-eks"

  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  # For ARNs: the part after the service's name.
  here   = "${var.region}:${local.account}"
  global = ":${local.account}"
}
