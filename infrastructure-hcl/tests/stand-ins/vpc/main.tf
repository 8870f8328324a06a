# Resources have the addresses of those in the real module, where the number of each depends on the zones.

locals {
  nat_gateways         = var.enable_nat_gateway ? local.private_route_tables : 0
  private_route_tables = var.single_nat_gateway ? 1 : var.one_nat_gateway_per_az ? length(var.azs) : length(var.private_subnets)
}

resource "aws_vpc" "this" {
  count = 1

  cidr_block           = var.cidr
  enable_dns_support   = var.enable_dns_support
  enable_dns_hostnames = var.enable_dns_hostnames

  tags = { Name = var.name }
}

resource "aws_internet_gateway" "this" {
  count = 1

  vpc_id = aws_vpc.this[0].id

  tags = { Name = var.name }
}

resource "aws_subnet" "public" {
  count = length(var.public_subnets)

  vpc_id                  = aws_vpc.this[0].id
  cidr_block              = var.public_subnets[count.index]
  availability_zone       = var.azs[count.index]
  map_public_ip_on_launch = var.map_public_ip_on_launch

  tags = merge({ Name = "${var.name}-public-${var.azs[count.index]}" }, var.public_subnet_tags)
}

resource "aws_route_table" "public" {
  count = 1

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${var.name}-public" }
}

resource "aws_route_table_association" "public" {
  count = length(var.public_subnets)

  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_route" "public_internet_gateway" {
  count = 1

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_subnet" "private" {
  count = length(var.private_subnets)

  vpc_id            = aws_vpc.this[0].id
  cidr_block        = var.private_subnets[count.index]
  availability_zone = var.azs[count.index]

  tags = merge({ Name = "${var.name}-private-${var.azs[count.index]}" }, var.private_subnet_tags)
}

resource "aws_route_table" "private" {
  count = local.private_route_tables

  vpc_id = aws_vpc.this[0].id

  tags = { Name = var.single_nat_gateway ? "${var.name}-private" : "${var.name}-private-${var.azs[count.index]}" }
}

resource "aws_route_table_association" "private" {
  count = length(var.private_subnets)

  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private[var.single_nat_gateway ? 0 : count.index].id
}

resource "aws_subnet" "database" {
  count = length(var.database_subnets)

  vpc_id            = aws_vpc.this[0].id
  cidr_block        = var.database_subnets[count.index]
  availability_zone = var.azs[count.index]

  tags = { Name = "${var.name}-db-${var.azs[count.index]}" }
}

resource "aws_route_table" "database" {
  count = var.single_nat_gateway ? 1 : length(var.database_subnets)

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${var.name}-db" }
}

resource "aws_route_table_association" "database" {
  count = length(var.database_subnets)

  subnet_id      = aws_subnet.database[count.index].id
  route_table_id = aws_route_table.database[var.single_nat_gateway ? 0 : count.index].id
}

resource "aws_eip" "nat" {
  count = local.nat_gateways

  domain = "vpc"

  tags = { Name = "${var.name}-${var.azs[count.index]}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_nat_gateway" "this" {
  count = local.nat_gateways

  allocation_id = aws_eip.nat[count.index].id
  subnet_id     = aws_subnet.public[count.index].id

  tags = { Name = "${var.name}-${var.azs[count.index]}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route" "private_nat_gateway" {
  count = local.nat_gateways

  route_table_id         = aws_route_table.private[count.index].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[count.index].id
}

resource "aws_cloudwatch_log_group" "flow_log" {
  count = 1

  name              = "${var.flow_log_cloudwatch_log_group_name_prefix}${var.flow_log_cloudwatch_log_group_name_suffix}"
  retention_in_days = var.flow_log_cloudwatch_log_group_retention_in_days
}

data "aws_iam_policy_document" "flow_log_cloudwatch_assume_role" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["vpc-flow-logs.amazonaws.com"]
    }

    dynamic "condition" {
      for_each = var.flow_log_cloudwatch_iam_role_conditions

      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }
}

resource "aws_iam_role" "vpc_flow_log_cloudwatch" {
  count = 1

  name                 = var.vpc_flow_log_iam_role_name
  assume_role_policy   = data.aws_iam_policy_document.flow_log_cloudwatch_assume_role.json
  permissions_boundary = var.vpc_flow_log_permissions_boundary
}

data "aws_iam_policy_document" "vpc_flow_log_cloudwatch" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = ["*"]
  }
}

resource "aws_iam_policy" "vpc_flow_log_cloudwatch" {
  count = 1

  name   = var.vpc_flow_log_iam_policy_name
  policy = data.aws_iam_policy_document.vpc_flow_log_cloudwatch.json
}

resource "aws_iam_role_policy_attachment" "vpc_flow_log_cloudwatch" {
  count = 1

  role       = aws_iam_role.vpc_flow_log_cloudwatch[0].name
  policy_arn = aws_iam_policy.vpc_flow_log_cloudwatch[0].arn
}

resource "aws_flow_log" "this" {
  count = 1

  vpc_id                   = aws_vpc.this[0].id
  traffic_type             = var.flow_log_traffic_type
  max_aggregation_interval = var.flow_log_max_aggregation_interval
  log_destination_type     = "cloud-watch-logs"
  log_destination          = aws_cloudwatch_log_group.flow_log[0].arn
  iam_role_arn             = aws_iam_role.vpc_flow_log_cloudwatch[0].arn
}
