locals {
  # Policies of AWS that have the same ids in all accounts. CloudFront keeps what Cache-Control and Expires of the
  # service's response allow, and nothing without them.
  cache_by_response_headers = "4cc15a8a-d715-48a4-82b8-cc0b614638fe" # UseOriginCacheControlHeaders-QueryStrings
  forward_all_of_viewer     = "216adef6-5c7f-47e4-b989-5492eafa07d3" # AllViewer
}

# The addresses of CloudFront's servers.
data "aws_ec2_managed_prefix_list" "cloudfront" {
  for_each = toset(var.cloudfront.enabled ? ["service"] : [])

  name = "com.amazonaws.global.cloudfront.origin-facing"
}

# Lets only distributions of this account connect to the internal load balancer. With a public one, distributions of
# all accounts could, and only a secret header would tell them apart.
resource "aws_cloudfront_vpc_origin" "service" {
  for_each = local.distributed

  vpc_origin_endpoint_config {
    name                   = var.cluster_name
    arn                    = each.value.arn
    http_port              = 80
    https_port             = 443
    origin_protocol_policy = "https-only"

    origin_ssl_protocols {
      items    = ["TLSv1.2"]
      quantity = 1
    }
  }

  timeouts {
    create = "30m"
    update = "30m"
    delete = "30m"
  }
}

resource "aws_cloudfront_distribution" "service" {
  #checkov:skip=CKV_AWS_86: the service logs each request with its id; a log bucket would need access control and retention of its own
  #checkov:skip=CKV_AWS_305: an API has no default page
  #checkov:skip=CKV_AWS_310: the cluster's load balancer is the only origin, and spans all zones
  #checkov:skip=CKV_AWS_374: the service is for users in all countries
  #checkov:skip=CKV2_AWS_32: the service and the load balancer send the security headers
  #checkov:skip=CKV_AWS_68: variable waf decides
  #checkov:skip=CKV2_AWS_47: variable waf decides; the web ACL contains the rules for known bad inputs
  for_each = local.distributed

  enabled         = true
  comment         = "${var.cluster_name}: ${var.domain.host}"
  aliases         = [var.domain.host]
  http_version    = "http2and3"
  is_ipv6_enabled = true
  price_class     = var.cloudfront.price_class
  web_acl_id      = one([for acl in module.cloudfront_web_acl : acl.arn])

  origin {
    origin_id   = "load-balancer"
    domain_name = each.value.dns_name

    vpc_origin_config {
      vpc_origin_id = aws_cloudfront_vpc_origin.service[each.key].id
      # The load balancer gives up on a request after 60 s, and closes idle connections after the same time.
      origin_read_timeout      = 60
      origin_keepalive_timeout = 55
    }
  }

  default_cache_behavior {
    target_origin_id         = "load-balancer"
    viewer_protocol_policy   = "redirect-to-https"
    allowed_methods          = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
    cached_methods           = ["GET", "HEAD"]
    compress                 = true
    cache_policy_id          = local.cache_by_response_headers
    origin_request_policy_id = local.forward_all_of_viewer
  }

  viewer_certificate {
    acm_certificate_arn      = aws_acm_certificate_validation.cloudfront[each.key].certificate_arn
    ssl_support_method       = "sni-only"
    minimum_protocol_version = "TLSv1.2_2021"
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }
}
