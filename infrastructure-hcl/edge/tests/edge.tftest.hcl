# Tests what exists in each phase, and the security properties of each option.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

mock_provider "aws" {
  alias           = "cloudfront"
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  environment = "test"
  region      = "eu-central-1"
  domain      = { zone = "example.com", host = "tasks.example.com" }
}

run "before_the_deployment_there_is_only_what_the_ingress_needs" {
  command = plan

  assert {
    condition = output.ingress == {
      host                 = "tasks.example.com"
      certificateArn       = aws_acm_certificate.service.arn
      cloudFrontPrefixList = ""
    }
    error_message = "The Ingress needs the host and the certificate."
  }

  assert {
    condition     = aws_acm_certificate.service.validation_method == "DNS" && length(aws_route53_record.validation) == 1
    error_message = "A record must prove the control of the domain, also for each renewal."
  }

  assert {
    condition     = length(aws_route53_record.load_balancer) == 0 && output.load_balancer == null
    error_message = "Without a load balancer the name leads nowhere."
  }

  assert {
    condition = alltrue([
      length(module.web_acl) == 0,
      length(module.cloudfront_web_acl) == 0,
      length(aws_cloudfront_distribution.service) == 0,
      length(aws_acm_certificate.cloudfront) == 0,
    ])
    error_message = "What has a price must be off by default."
  }
}

run "after_the_deployment_the_name_leads_to_the_load_balancer" {
  command = plan

  variables {
    waf = { enabled = true }
  }

  override_data {
    target = data.aws_lbs.service
    values = { arns = ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/k8s-fastify/0123456789abcdef"] }
  }

  assert {
    condition = (
      aws_route53_record.load_balancer["service"].name == "tasks.example.com" &&
      aws_route53_record.load_balancer["service"].alias[0].name == "k8s-fastify-1234567890.eu-central-1.elb.amazonaws.com"
    )
    error_message = "The name must be an alias of the load balancer."
  }

  assert {
    condition     = output.load_balancer == "k8s-fastify-1234567890.eu-central-1.elb.amazonaws.com"
    error_message = "make deploy compares this with the Ingress's load balancer."
  }

  assert {
    condition     = length(aws_wafv2_web_acl_association.load_balancer) == 1 && length(module.cloudfront_web_acl) == 0
    error_message = "The web ACL must be attached to the load balancer."
  }
}

run "detached_nothing_refers_to_the_load_balancer" {
  command = plan

  variables {
    attached = false
    waf      = { enabled = true }
  }

  override_data {
    target = data.aws_lbs.service
    values = { arns = ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/k8s-fastify/0123456789abcdef"] }
  }

  assert {
    condition     = length(aws_route53_record.load_balancer) == 0 && length(aws_wafv2_web_acl_association.load_balancer) == 0
    error_message = "AWS does not delete a load balancer that something refers to."
  }

  assert {
    condition     = output.ingress.certificateArn == aws_acm_certificate.service.arn && length(module.web_acl) == 1
    error_message = "The certificate stays as long as the load balancer uses it."
  }
}

run "behind_cloudfront_the_load_balancer_is_internal" {
  command = plan

  variables {
    waf        = { enabled = true }
    cloudfront = { enabled = true }
  }

  override_data {
    target = data.aws_lbs.service
    values = { arns = ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/k8s-fastify/0123456789abcdef"] }
  }

  override_data {
    target = data.aws_lb.service
    values = {
      arn      = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/k8s-fastify/0123456789abcdef"
      dns_name = "internal-k8s-fastify-1234567890.eu-central-1.elb.amazonaws.com"
      zone_id  = "Z215JYRZR1TBD5"
      internal = true
    }
  }

  assert {
    condition     = output.ingress.cloudFrontPrefixList == "pl-0123456789abcdef0"
    error_message = "Only CloudFront's servers may connect to the load balancer."
  }

  assert {
    condition     = aws_cloudfront_vpc_origin.service["service"].vpc_origin_endpoint_config[0].origin_protocol_policy == "https-only"
    error_message = "CloudFront must use HTTPS to the load balancer."
  }

  assert {
    condition = (
      aws_cloudfront_distribution.service["service"].default_cache_behavior[0].viewer_protocol_policy == "redirect-to-https" &&
      aws_cloudfront_distribution.service["service"].viewer_certificate[0].minimum_protocol_version == "TLSv1.2_2021"
    )
    error_message = "Viewers must use HTTPS with TLS 1.2 or newer."
  }

  assert {
    condition = alltrue([
      aws_cloudfront_distribution.service["service"].web_acl_id != null,
      length(module.cloudfront_web_acl) == 1,
      length(module.web_acl) == 0,
      length(aws_wafv2_web_acl_association.load_balancer) == 0,
    ])
    error_message = "There must be one web ACL, at CloudFront."
  }

  assert {
    condition     = toset([for record in aws_route53_record.cloudfront : record.type]) == toset(["A", "AAAA"]) && length(aws_route53_record.load_balancer) == 0
    error_message = "The name must lead to CloudFront alone."
  }
}

run "until_the_load_balancer_is_internal_it_keeps_its_name_and_web_acl" {
  command = plan

  variables {
    waf        = { enabled = true }
    cloudfront = { enabled = true }
  }

  override_data {
    target = data.aws_lbs.service
    values = { arns = ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/k8s-fastify/0123456789abcdef"] }
  }

  assert {
    condition     = length(aws_route53_record.load_balancer) == 1 && length(aws_wafv2_web_acl_association.load_balancer) == 1
    error_message = "The public load balancer still serves the requests."
  }

  assert {
    condition     = length(aws_cloudfront_vpc_origin.service) == 0 && length(aws_cloudfront_distribution.service) == 0
    error_message = "CloudFront must not use a public load balancer."
  }

  assert {
    condition     = output.ingress.cloudFrontPrefixList == "pl-0123456789abcdef0"
    error_message = "The next deployment must make the load balancer internal."
  }
}
