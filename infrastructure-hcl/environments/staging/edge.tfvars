environment = "staging"
region      = "eu-central-1"

# As in prod, so that a rule that blocks a valid request shows here first.
waf = { enabled = true, log_retention_days = 14 }
