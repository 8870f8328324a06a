data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

locals {
  tags = {
    "app.kubernetes.io/part-of" = var.cluster_name
    environment                 = var.environment
    managed-by                  = "terraform"
  }

  permissions_boundary = var.permissions_boundary == null ? null : join(":", [
    "arn", data.aws_partition.current.partition, "iam", "", data.aws_caller_identity.current.account_id, "policy/${var.permissions_boundary}",
  ])

  # In a /16: public /22 from 10.0.0.0, database /24 from 10.0.16.0, private /19 from 10.0.32.0. Pods have addresses of
  # the private subnets. The blocks of a third zone are free until it is added, and so is the second half of the VPC.
  public_cidrs   = [for index, zone in var.zones : cidrsubnet(var.cidr, 6, index)]
  database_cidrs = [for index, zone in var.zones : cidrsubnet(var.cidr, 8, 16 + index)]
  private_cidrs  = [for index, zone in var.zones : cidrsubnet(var.cidr, 3, 1 + index)]
}

module "vpc" {
  #checkov:skip=CKV_TF_1: the version is exact, and the registry never changes a published version
  source  = "terraform-aws-modules/vpc/aws"
  version = "6.6.0"

  name = var.cluster_name
  cidr = var.cidr
  azs  = var.zones

  enable_dns_support   = true
  enable_dns_hostnames = true

  # The load balancer controller finds subnets by their role. Our own EC2NodeClass lists subnets by id; another one can
  # select them by the tag.
  public_subnets      = local.public_cidrs
  public_subnet_tags  = { "kubernetes.io/role/elb" = "1" }
  private_subnets     = local.private_cidrs
  private_subnet_tags = { "kubernetes.io/role/internal-elb" = "1", "karpenter.sh/discovery" = var.cluster_name }

  # Instances get no public address by accident. Load balancers and the NAT have addresses of their own.
  map_public_ip_on_launch = false

  # With their own route table, the databases have no route to the internet.
  database_subnets                   = local.database_cidrs
  create_database_subnet_route_table = true
  # The stack that creates the databases also creates their subnet groups.
  create_database_subnet_group = false

  enable_nat_gateway     = var.nat != "instance"
  single_nat_gateway     = var.nat != "gateway-per-zone"
  one_nat_gateway_per_az = var.nat == "gateway-per-zone"

  # See aws_default_security_group.
  manage_default_security_group = false
  # No subnet uses the default route table. The default ACL allows everything, which is what we want: security groups
  # and NetworkPolicies decide.
  manage_default_route_table = false
  manage_default_network_acl = false

  enable_flow_log                                 = true
  flow_log_traffic_type                           = var.flow_logs.traffic
  flow_log_max_aggregation_interval               = 600
  create_flow_log_cloudwatch_log_group            = true
  flow_log_cloudwatch_log_group_name_prefix       = "/aws/vpc-flow-log/"
  flow_log_cloudwatch_log_group_name_suffix       = var.cluster_name
  flow_log_cloudwatch_log_group_retention_in_days = var.flow_logs.retention_days
  create_flow_log_cloudwatch_iam_role             = true
  vpc_flow_log_iam_role_name                      = "${var.cluster_name}-flow-log"
  vpc_flow_log_iam_role_use_name_prefix           = false
  vpc_flow_log_iam_policy_name                    = "${var.cluster_name}-flow-log"
  vpc_flow_log_iam_policy_use_name_prefix         = false
  vpc_flow_log_permissions_boundary               = local.permissions_boundary
  # Without this condition, flow logs of another account could use the role.
  flow_log_cloudwatch_iam_role_conditions = [{
    test     = "StringEquals"
    variable = "aws:SourceAccount"
    values   = [data.aws_caller_identity.current.account_id]
  }]
}

# Whatever forgets to choose a security group gets this one, and can neither send nor receive.
resource "aws_default_security_group" "this" {
  provider = aws.untagged

  vpc_id  = module.vpc.vpc_id
  ingress = []
  egress  = []
}
