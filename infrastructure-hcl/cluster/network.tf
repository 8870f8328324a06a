# The VPC and its subnets belong to someone else. The stack reads, checks and tags them, and changes nothing else.

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

  subnets = merge(data.aws_subnet.private, data.aws_subnet.public)

  # The load balancer controller finds subnets by their role. Karpenter's EC2NodeClass lists its subnets by id,
  # because a subnet can have the tag karpenter.sh/discovery for only one cluster.
  subnet_roles = merge(
    { for id in var.public_subnet_ids : id => "kubernetes.io/role/elb" },
    { for id in var.private_subnet_ids : id => "kubernetes.io/role/internal-elb" },
  )

  # The key contains the cluster's name, so it cannot conflict with another cluster's tag.
  cluster_tag = "kubernetes.io/cluster/${var.cluster_name}"

  subnet_tags = merge(
    { for id, key in local.subnet_roles : "${id}/role" => { id = id, key = key, value = "1" } if !terraform_data.subnet_had_role[id].input },
    { for id in keys(local.subnet_roles) : "${id}/cluster" => { id = id, key = local.cluster_tag, value = "shared" } },
  )
}

# If a subnet had a role tag before the first apply, the tag belongs to the subnet's owner: the stack neither changes
# it nor removes it with the cluster. The first apply records this, because afterwards the subnet also has this
# stack's tags.
resource "terraform_data" "subnet_had_role" {
  for_each = local.subnet_roles

  input = contains(keys(local.subnets[each.key].tags), each.value) && !contains(keys(local.subnets[each.key].tags), local.cluster_tag)

  lifecycle {
    ignore_changes = [input]
  }
}

# One resource per tag, so that the owner's other tags are preserved.
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
