# The VPC and its subnets belong to somebody else: looked up, checked and tagged, never changed otherwise.

data "aws_vpc" "this" {
  id = var.vpc_id
}

data "aws_subnet" "private" {
  for_each = toset(var.private_subnet_ids)

  id = each.key

  lifecycle {
    postcondition {
      condition     = self.vpc_id == var.vpc_id
      error_message = "Subnet ${self.id} is in ${self.vpc_id}, not in ${var.vpc_id}."
    }
  }
}

data "aws_subnet" "public" {
  for_each = toset(var.public_subnet_ids)

  id = each.key

  lifecycle {
    postcondition {
      condition     = self.vpc_id == var.vpc_id
      error_message = "Subnet ${self.id} is in ${self.vpc_id}, not in ${var.vpc_id}."
    }
  }
}

locals {
  private_zones = distinct([for subnet in data.aws_subnet.private : subnet.availability_zone])
  public_zones  = distinct([for subnet in data.aws_subnet.public : subnet.availability_zone])

  # What the load balancer controller, EKS and Karpenter find subnets by.
  subnet_tags = merge(
    { for id in var.public_subnet_ids : "${id}/elb" => { id = id, key = "kubernetes.io/role/elb", value = "1" } },
    { for id in var.private_subnet_ids : "${id}/internal-elb" => { id = id, key = "kubernetes.io/role/internal-elb", value = "1" } },
    { for id in var.private_subnet_ids : "${id}/karpenter" => { id = id, key = "karpenter.sh/discovery", value = var.cluster_name } },
    { for id in concat(var.public_subnet_ids, var.private_subnet_ids) :
    "${id}/cluster" => { id = id, key = "kubernetes.io/cluster/${var.cluster_name}", value = "shared" } },
  )
}

# Tag by tag, so that the owner's tags stay.
resource "aws_ec2_tag" "subnet" {
  for_each = local.subnet_tags

  resource_id = each.value.id
  key         = each.value.key
  value       = each.value.value

  lifecycle {
    precondition {
      condition     = length(local.private_zones) >= 2
      error_message = "The private subnets are all in ${join(", ", local.private_zones)}; EKS needs two availability zones."
    }

    precondition {
      condition     = length(local.public_zones) >= 2
      error_message = "The public subnets are all in ${join(", ", local.public_zones)}; an ALB needs two availability zones."
    }
  }
}
