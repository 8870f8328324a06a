# One web ACL where requests arrive: at the load balancer, or at CloudFront.

module "web_acl" {
  source   = "./web-acl"
  for_each = toset(var.waf.enabled && !local.serves_cloudfront ? ["service"] : [])

  name               = var.cluster_name
  scope              = "REGIONAL"
  rate_limit         = var.waf.rate_limit
  log_retention_days = var.waf.log_retention_days
}

# Terraform attaches the web ACL, not the load balancer controller: a web ACL cannot be deleted while a load balancer
# uses it, and only Terraform can do both in the right order. Without its annotation, the controller leaves it alone.
resource "aws_wafv2_web_acl_association" "load_balancer" {
  for_each = var.waf.enabled ? local.direct : {}

  resource_arn = each.value.arn
  web_acl_arn  = module.web_acl[each.key].arn
}

module "cloudfront_web_acl" {
  source   = "./web-acl"
  for_each = toset(var.waf.enabled && var.cloudfront.enabled ? ["service"] : [])

  providers = {
    aws = aws.cloudfront
  }

  name               = "${var.cluster_name}-cloudfront"
  scope              = "CLOUDFRONT"
  rate_limit         = var.waf.rate_limit
  log_retention_days = var.waf.log_retention_days
}
