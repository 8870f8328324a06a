# Layers of images in ECR are in S3, so most of what nodes download does not pass through the NAT. It is free.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = module.vpc.vpc_id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = module.vpc.private_route_table_ids

  tags = { Name = "${var.cluster_name}-s3" }
}

resource "aws_security_group" "endpoints" {
  #checkov:skip=CKV2_AWS_5: each interface endpoint has it
  for_each = toset(length(var.interface_endpoints) > 0 ? ["endpoints"] : [])

  name        = "${var.cluster_name}-endpoints"
  description = "Interface endpoints: accept HTTPS of the private subnets"
  vpc_id      = module.vpc.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  for_each = length(var.interface_endpoints) > 0 ? zipmap(var.zones, local.private_cidrs) : {}

  security_group_id = aws_security_group.endpoints["endpoints"].id
  description       = "Private subnet in ${each.key}"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value
}

resource "aws_vpc_endpoint" "interface" {
  for_each = var.interface_endpoints

  vpc_id              = module.vpc.vpc_id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = module.vpc.private_subnets
  security_group_ids  = [aws_security_group.endpoints["endpoints"].id]
  private_dns_enabled = true

  tags = { Name = "${var.cluster_name}-${each.key}" }
}
