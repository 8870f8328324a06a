# The stack validates the variables.

variable "name" {
  description = "Name of the web ACL, and of its log group after the prefix aws-waf-logs-"
  type        = string
}

variable "scope" {
  description = "REGIONAL for load balancers, CLOUDFRONT for distributions"
  type        = string
}

variable "rate_limit" {
  description = "Requests that an address may send in 5 minutes"
  type        = number
}

variable "log_retention_days" {
  description = "Days for which CloudWatch keeps the log"
  type        = number
}
