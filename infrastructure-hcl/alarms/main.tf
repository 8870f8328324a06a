data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

# The stacks with something to watch. Load balancers need none: alarms.tf finds them by their metrics.
data "terraform_remote_state" "stack" {
  for_each = { for name, state in var.states : name => state if contains(["cluster", "data", "network"], name) }

  backend = each.value.backend
  config  = each.value.config
}

locals {
  partition = data.aws_partition.current.partition
  account   = data.aws_caller_identity.current.account_id
  # The part of an ARN that follows the service's name.
  here = "${var.region}:${local.account}"

  outputs = { for name, state in data.terraform_remote_state.stack : name => state.outputs }

  # The host name of a database begins with the identifier of its instance.
  databases = [for host in [try(local.outputs["data"].database.host, null)] : split(".", host)[0] if host != null]
  caches    = [for id in [try(local.outputs["data"].cache.replication_group_id, null)] : id if id != null]
  networks  = [for id in [try(local.outputs["network"].vpc_id, null)] : id if id != null]
}

data "aws_db_instance" "this" {
  for_each = toset(local.databases)

  db_instance_identifier = each.key
}

data "aws_nat_gateways" "this" {
  for_each = toset(local.networks)

  vpc_id = each.key

  filter {
    name   = "state"
    values = ["available"]
  }
}

data "aws_instances" "nat" {
  for_each = toset(local.networks)

  # The network stack gives this name to the instance that it uses instead of a NAT gateway.
  instance_tags        = { Name = "${var.cluster_name}-nat" }
  instance_state_names = ["running"]

  filter {
    name   = "vpc-id"
    values = [each.key]
  }
}
