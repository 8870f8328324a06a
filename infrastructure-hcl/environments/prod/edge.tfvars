environment = "prod"
region      = "eu-central-1"

waf = { enabled = true, log_retention_days = 90 }
# Choose before the service has users: switching it later replaces the load balancer (docs/domain.md).
cloudfront = { enabled = false }
