# Alias records cost nothing per query, and follow the addresses of their target.
resource "aws_route53_record" "load_balancer" {
  #checkov:skip=CKV2_AWS_23: the load balancer controller creates the load balancer
  for_each = local.direct

  zone_id = data.aws_route53_zone.this.zone_id
  name    = var.domain.host
  type    = "A"

  alias {
    name                   = each.value.dns_name
    zone_id                = each.value.zone_id
    evaluate_target_health = false
  }
}

resource "aws_route53_record" "cloudfront" {
  # CloudFront also has IPv6 addresses, the load balancer has not.
  for_each = merge([
    for key in keys(local.distributed) : { for type in ["A", "AAAA"] : "${key}/${type}" => { key = key, type = type } }
  ]...)

  zone_id = data.aws_route53_zone.this.zone_id
  name    = var.domain.host
  type    = each.value.type

  alias {
    name                   = aws_cloudfront_distribution.service[each.value.key].domain_name
    zone_id                = aws_cloudfront_distribution.service[each.value.key].hosted_zone_id
    evaluate_target_health = false
  }
}
