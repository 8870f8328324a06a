# A NAT gateway costs as much as three system nodes. An instance that forwards packets costs a tenth, but an apply has to
# replace it when its zone or its operating system fails (docs/infrastructure.md).

locals {
  # The key is the zone of the instance.
  nat_instance = toset(var.nat == "instance" ? [var.zones[0]] : [])
}

data "aws_ssm_parameter" "amazon_linux" {
  for_each = local.nat_instance

  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
}

resource "aws_security_group" "nat" {
  for_each = local.nat_instance

  name        = "${var.cluster_name}-nat"
  description = "NAT instance: accepts connections of the private subnets, and forwards them"
  vpc_id      = module.vpc.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "nat" {
  for_each = length(local.nat_instance) == 0 ? {} : zipmap(var.zones, local.private_cidrs)

  security_group_id = aws_security_group.nat[var.zones[0]].id
  description       = "Private subnet in ${each.key}"
  ip_protocol       = "-1"
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_egress_rule" "nat" {
  #checkov:skip=CKV_AWS_382: forwarding to any address is its purpose; the pods' NetworkPolicies decide where they may connect
  for_each = local.nat_instance

  security_group_id = aws_security_group.nat[each.key].id
  description       = "Anywhere"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

# The interface and its address outlive the instance, so that routes and allow lists of others stay valid.
resource "aws_network_interface" "nat" {
  for_each = local.nat_instance

  description       = "NAT of ${var.cluster_name}"
  subnet_id         = module.vpc.public_subnets[0]
  security_groups   = [aws_security_group.nat[each.key].id]
  source_dest_check = false
}

resource "aws_eip" "nat" {
  for_each = local.nat_instance

  domain            = "vpc"
  network_interface = aws_network_interface.nat[each.key].id
}

resource "aws_instance" "nat" {
  #checkov:skip=CKV_AWS_126: metrics every five minutes are enough, and free
  #checkov:skip=CKV2_AWS_41: it calls no AWS API, so it has no role
  for_each = local.nat_instance

  ami           = data.aws_ssm_parameter.amazon_linux[each.key].insecure_value
  instance_type = var.nat_instance_type
  ebs_optimized = true
  user_data     = templatefile("${path.module}/nat-instance.sh", { cidr = var.cidr })

  user_data_replace_on_change = true

  # Version 6 of the provider prefers primary_network_interface, which the last 5.x does not have.
  network_interface {
    device_index         = 0
    network_interface_id = aws_network_interface.nat[each.key].id
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_size = 8
    volume_type = "gp3"
    encrypted   = true
    tags        = local.tags
  }

  tags = { Name = "${var.cluster_name}-nat" }

  # Its first boot downloads a package.
  depends_on = [aws_eip.nat, aws_vpc_security_group_egress_rule.nat]

  lifecycle {
    # Otherwise, any plan after a release of Amazon Linux would interrupt the connections of all pods.
    ignore_changes = [ami]
  }
}

resource "aws_route" "nat_instance" {
  for_each = local.nat_instance

  route_table_id         = module.vpc.private_route_table_ids[0]
  destination_cidr_block = "0.0.0.0/0"
  network_interface_id   = aws_network_interface.nat[each.key].id

  # Packets reach the interface only while an instance has it.
  depends_on = [aws_instance.nat]
}
