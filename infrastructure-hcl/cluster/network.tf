# The VPC and its subnets belong to the network stack or to someone else. This stack reads, checks and tags them, and
# changes nothing else.

data "terraform_remote_state" "network" {
  for_each = toset(var.network == "stack" ? ["network"] : [])

  backend = var.network_state.backend
  config  = var.network_state.config

  lifecycle {
    postcondition {
      condition     = can(self.outputs.vpc_id)
      error_message = "The network stack's state has no outputs: apply that stack first, or correct network_state."
    }
  }
}

locals {
  stack = one(values(data.terraform_remote_state.network)[*].outputs)

  network = {
    vpc_id             = var.network == "stack" ? local.stack.vpc_id : var.vpc_id
    private_subnet_ids = var.network == "stack" ? local.stack.private_subnet_ids : var.private_subnet_ids
    public_subnet_ids  = var.network == "stack" ? local.stack.public_subnet_ids : var.public_subnet_ids
  }
}

data "aws_vpc" "this" {
  id = local.network.vpc_id
}

data "aws_subnet" "private" {
  for_each = toset(local.network.private_subnet_ids)

  id = each.key

  lifecycle {
    postcondition {
      condition     = self.vpc_id == local.network.vpc_id
      error_message = "Subnet ${self.id} is in ${self.vpc_id}, not in ${local.network.vpc_id}."
    }
  }
}

data "aws_subnet" "public" {
  for_each = toset(local.network.public_subnet_ids)

  id = each.key

  lifecycle {
    postcondition {
      condition     = self.vpc_id == local.network.vpc_id
      error_message = "Subnet ${self.id} is in ${self.vpc_id}, not in ${local.network.vpc_id}."
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
    { for id in local.network.public_subnet_ids : id => "kubernetes.io/role/elb" },
    { for id in local.network.private_subnet_ids : id => "kubernetes.io/role/internal-elb" },
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
# stack's tags. The network stack sets the role tags of its subnets itself, and leaves the cluster's tag alone.
resource "terraform_data" "subnet_had_role" {
  for_each = local.subnet_roles

  input = var.network == "stack" || contains(keys(local.subnets[each.key].tags), each.value) && !contains(keys(local.subnets[each.key].tags), local.cluster_tag)

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
