variable "environment" {
  description = "Name of the environment, for tags"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment must be 2 to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "region" {
  description = "AWS region of the cluster, as in the cluster stack"
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the code of an AWS region, such as eu-central-1."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster whose load balancer the domain leads to, as in the cluster stack"
  type        = string
  default     = "fastify-eks-cluster"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}$", var.cluster_name))
    error_message = "cluster_name must be at most 29 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "domain" {
  description = "Public hosted zone in Route 53, by name, and the host name in it under which the service is reached"
  type = object({
    zone = string
    host = string
  })

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,}$", var.domain.zone))
    error_message = "domain.zone must be a domain in lower case without a final dot, such as example.com."
  }

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,}$", var.domain.host))
    error_message = "domain.host must be a host name in lower case without wildcards and without a final dot, such as tasks.example.com."
  }

  validation {
    condition     = var.domain.host == var.domain.zone || endswith(var.domain.host, ".${var.domain.zone}")
    error_message = "domain.host must be domain.zone or end with it: Route 53 answers only for names in the zone."
  }

  validation {
    # ACM puts the first name of a certificate into its common name, which X.509 limits.
    condition     = length(var.domain.host) <= 64
    error_message = "domain.host must have at most 64 characters, because ACM accepts no longer name in a certificate."
  }
}

variable "waf" {
  description = "Whether AWS WAF filters requests, how many requests an address may send in 5 minutes, and how many days CloudWatch keeps the log of blocked requests"
  type = object({
    enabled            = optional(bool, false)
    rate_limit         = optional(number, 3000)
    log_retention_days = optional(number, 30)
  })
  default = {}

  validation {
    condition     = var.waf.rate_limit >= 10 && var.waf.rate_limit <= 2000000000 && floor(var.waf.rate_limit) == var.waf.rate_limit
    error_message = "waf.rate_limit must be a whole number from 10 to 2,000,000,000, which are WAF's own limits."
  }

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.waf.log_retention_days)
    error_message = "waf.log_retention_days must be a period that CloudWatch Logs supports: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731."
  }
}

variable "cloudfront" {
  description = "Whether requests come through CloudFront, and from which of its locations: PriceClass_100 (Europe, North America), PriceClass_200 or PriceClass_All"
  type = object({
    enabled     = optional(bool, false)
    price_class = optional(string, "PriceClass_100")
  })
  default = {}

  validation {
    condition     = contains(["PriceClass_100", "PriceClass_200", "PriceClass_All"], var.cloudfront.price_class)
    error_message = "cloudfront.price_class must be PriceClass_100, PriceClass_200 or PriceClass_All."
  }
}

variable "attached" {
  description = "Whether the domain leads to the load balancer. `make destroy` sets this to false before the load balancer is deleted"
  type        = bool
  default     = true
}
