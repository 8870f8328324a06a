output "ingress" {
  description = "Values of the chart's Ingress. `make deploy` sets them"
  value = {
    host                 = var.domain.host
    certificateArn       = aws_acm_certificate_validation.service.certificate_arn
    cloudFrontPrefixList = join("", [for list in data.aws_ec2_managed_prefix_list.cloudfront : list.id])
  }
}

output "load_balancer" {
  description = "DNS name of the load balancer that the domain leads to. Null before the first deployment"
  value       = one([for balancer in merge(local.direct, local.distributed) : balancer.dns_name])
}
