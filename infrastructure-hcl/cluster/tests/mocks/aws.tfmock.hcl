# Valid values for what only AWS knows. Some of the modules and stand-ins check them.

mock_data "aws_partition" {
  defaults = {
    partition  = "aws"
    dns_suffix = "amazonaws.com"
  }
}

mock_data "aws_caller_identity" {
  defaults = {
    account_id = "123456789012"
    arn        = "arn:aws:iam::123456789012:user/somebody"
  }
}

mock_data "aws_iam_session_context" {
  defaults = { issuer_arn = "arn:aws:iam::123456789012:user/somebody" }
}

mock_data "aws_service_principal" {
  defaults = { name = "ec2.amazonaws.com" }
}

mock_data "aws_eks_cluster_versions" {
  defaults = { cluster_versions = [{ cluster_version = "1.35" }, { cluster_version = "1.36" }] }
}

mock_data "aws_iam_policy_document" {
  defaults = { json = "{}" }
}

mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
}

mock_resource "aws_iam_policy" {
  defaults = { arn = "arn:aws:iam::123456789012:policy/mocked" }
}

mock_resource "aws_iam_openid_connect_provider" {
  defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/MOCKED" }
}

mock_resource "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
}

mock_resource "aws_sqs_queue" {
  defaults = { arn = "arn:aws:sqs:eu-central-1:123456789012:mocked" }
}

mock_resource "aws_launch_template" {
  defaults = { id = "lt-0123456789abcdef0" }
}

mock_resource "aws_eks_node_group" {
  defaults = { id = "fastify-eks-cluster:system-1" }
}

# The network of the tests: two private and two public subnets, in two zones.

override_data {
  target = data.aws_subnet.private["subnet-0000000000000000a"]
  values = { id = "subnet-0000000000000000a", vpc_id = "vpc-00000000000000001", availability_zone = "eu-central-1a" }
}

override_data {
  target = data.aws_subnet.private["subnet-0000000000000000b"]
  values = { id = "subnet-0000000000000000b", vpc_id = "vpc-00000000000000001", availability_zone = "eu-central-1b" }
}

override_data {
  target = data.aws_subnet.public["subnet-0000000000000000c"]
  values = { id = "subnet-0000000000000000c", vpc_id = "vpc-00000000000000001", availability_zone = "eu-central-1a" }
}

override_data {
  target = data.aws_subnet.public["subnet-0000000000000000d"]
  values = { id = "subnet-0000000000000000d", vpc_id = "vpc-00000000000000001", availability_zone = "eu-central-1b" }
}
