# Valid values for what only AWS knows. The provider checks the form of ARNs.

mock_data "aws_partition" {
  defaults = { partition = "aws" }
}

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_region" {
  defaults = { id = "eu-central-1" }
}

mock_data "aws_route53_zone" {
  defaults = { zone_id = "Z00000000000000000001" }
}

mock_data "aws_ec2_managed_prefix_list" {
  defaults = { id = "pl-0123456789abcdef0" }
}

# No load balancer, as before the first deployment.
mock_data "aws_lbs" {
  defaults = { arns = [] }
}

mock_data "aws_lb" {
  defaults = {
    arn      = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/k8s-fastify/0123456789abcdef"
    dns_name = "k8s-fastify-1234567890.eu-central-1.elb.amazonaws.com"
    zone_id  = "Z215JYRZR1TBD5"
    internal = false
  }
}

mock_resource "aws_acm_certificate" {
  defaults = {
    arn = "arn:aws:acm:eu-central-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef"
    domain_validation_options = [{
      domain_name           = "tasks.example.com"
      resource_record_name  = "_0123456789abcdef.tasks.example.com."
      resource_record_type  = "CNAME"
      resource_record_value = "_fedcba9876543210.acm-validations.aws."
    }]
  }
}

mock_resource "aws_wafv2_web_acl" {
  defaults = { arn = "arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/mocked/01234567-89ab-cdef-0123-456789abcdef" }
}

mock_resource "aws_cloudwatch_log_group" {
  defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:aws-waf-logs-mocked" }
}

mock_resource "aws_cloudfront_vpc_origin" {
  defaults = { id = "vo_0123456789abcdef" }
}

mock_resource "aws_cloudfront_distribution" {
  defaults = {
    arn            = "arn:aws:cloudfront::123456789012:distribution/E0123456789ABC"
    domain_name    = "d0123456789abc.cloudfront.net"
    hosted_zone_id = "Z2FDTNDATAQYW2"
  }
}
