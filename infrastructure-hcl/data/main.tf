data "terraform_remote_state" "cluster" {
  backend = var.cluster_state.backend
  config  = var.cluster_state.config

  lifecycle {
    postcondition {
      condition     = can(self.outputs.node_security_group_id)
      error_message = "The cluster stack's state has no outputs, or those of an older version: apply that stack first, or correct cluster_state."
    }
  }
}

locals {
  cluster = data.terraform_remote_state.cluster.outputs

  # Also the prefix of the names of all resources, by which CI's permissions identify them.
  name = local.cluster.cluster_name

  tags = {
    "app.kubernetes.io/part-of" = local.name
    environment                 = var.environment
    managed-by                  = "terraform"
  }

  # In an existing network without subnets of their own, database and cache are in those of the nodes. An output that is
  # null is not in the state.
  subnet_ids = coalesce(var.database_subnet_ids, try(local.cluster.database_subnet_ids, null), local.cluster.node_subnet_ids)

  servers = {
    database = { port = 5432, description = "PostgreSQL" }
    cache    = { port = 6379, description = "Valkey" }
  }
}

data "aws_subnet" "this" {
  for_each = toset(local.subnet_ids)

  id = each.key

  lifecycle {
    postcondition {
      condition     = self.vpc_id == local.cluster.vpc_id
      error_message = "Subnet ${self.id} is in ${self.vpc_id}, not in the cluster's ${local.cluster.vpc_id}."
    }
  }
}

# A group for each server. It admits only the nodes: pods have the security group of their node, so AWS cannot tell the
# service's pods from others. The NetworkPolicies of the chart do that.
resource "aws_security_group" "this" {
  #checkov:skip=CKV2_AWS_5: attached to the database and to the cache
  for_each = local.servers

  name        = "${local.name}-${each.key}"
  description = "${each.value.description} of ${local.name}"
  vpc_id      = local.cluster.vpc_id

  # The name would otherwise appear only in the description.
  tags = { Name = "${local.name}-${each.key}" }
}

resource "aws_vpc_security_group_ingress_rule" "nodes" {
  #checkov:skip=CKV_AWS_23: the group's description says what the rule is for
  for_each = local.servers

  security_group_id            = aws_security_group.this[each.key].id
  referenced_security_group_id = local.cluster.node_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}
