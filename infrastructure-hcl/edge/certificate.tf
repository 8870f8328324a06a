# The load balancer's certificate. It also serves CloudFront's connections, which ask for the same host name.
resource "aws_acm_certificate" "service" {
  domain_name       = var.domain.host
  validation_method = "DNS"

  lifecycle {
    # A listener always needs a certificate, and AWS does not delete one that is in use.
    create_before_destroy = true
  }
}

# ACM renews the certificate by itself as long as this record exists.
resource "aws_route53_record" "validation" {
  for_each = {
    for option in aws_acm_certificate.service.domain_validation_options : option.domain_name => option
  }

  zone_id = data.aws_route53_zone.this.zone_id
  name    = each.value.resource_record_name
  type    = each.value.resource_record_type
  records = [each.value.resource_record_value]
  ttl     = 300
}

resource "aws_acm_certificate_validation" "service" {
  certificate_arn         = aws_acm_certificate.service.arn
  validation_record_fqdns = [for record in aws_route53_record.validation : record.fqdn]

  timeouts {
    # ACM needs a few minutes, unless the registrar does not delegate the domain to the zone.
    create = "15m"
  }
}

resource "aws_acm_certificate" "cloudfront" {
  for_each = toset(var.cloudfront.enabled ? ["service"] : [])
  provider = aws.cloudfront

  domain_name       = var.domain.host
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_acm_certificate_validation" "cloudfront" {
  for_each = aws_acm_certificate.cloudfront
  provider = aws.cloudfront

  certificate_arn = each.value.arn

  timeouts {
    create = "15m"
  }

  # The same record proves the control of the domain to ACM in all regions of the account.
  depends_on = [aws_route53_record.validation]
}
