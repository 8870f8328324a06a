# The way from a domain to the service's load balancer. The load balancer controller creates that load balancer for the
# Ingress, which needs the certificate first. So this stack is applied twice: before the deployment it creates what the
# Ingress needs, after it what needs the load balancer. docs/domain.md explains the order.

locals {
  tags = {
    "app.kubernetes.io/part-of" = var.cluster_name
    environment                 = var.environment
    managed-by                  = "terraform"
  }

  # Namespace and name of the service's Ingress.
  ingress = "fastify-app/fastify-app"
}

data "aws_route53_zone" "this" {
  name         = var.domain.zone
  private_zone = false
}

# The plural data source finds nothing before the first deployment, instead of failing.
data "aws_lbs" "service" {
  # These are the controller's tags (its documentation, "Resource Tags").
  tags = {
    "elbv2.k8s.aws/cluster"    = var.cluster_name
    "ingress.k8s.aws/resource" = "LoadBalancer"
    "ingress.k8s.aws/stack"    = local.ingress
  }

  lifecycle {
    postcondition {
      condition     = length(self.arns) <= 1
      error_message = "The Ingress ${local.ingress} has ${length(self.arns)} load balancers: the controller is replacing one. Apply again when it has deleted the old one."
    }
  }
}

data "aws_lb" "service" {
  for_each = data.aws_lbs.service.arns

  arn = each.key
}

locals {
  found = one(values(data.aws_lb.service))

  # A load balancer cannot change its scheme. While CloudFront is being switched on or off, the present load balancer
  # still has the other one, and everything stays as it suits that.
  serves_cloudfront = local.found == null ? var.cloudfront.enabled : var.cloudfront.enabled && local.found.internal

  load_balancer = var.attached ? local.found : null

  # A map instead of a list, because it is used for for_each.
  distributed = local.load_balancer != null && local.serves_cloudfront ? { service = local.load_balancer } : {}
  direct      = local.load_balancer != null && !local.serves_cloudfront ? { service = local.load_balancer } : {}
}
