environment = "prod"
region      = "eu-central-1"

# About 1.5 times what the idle environment costs: docs/cost.md.
monthly_budget_usd = 730

# Add `repository` and `budget_emails`: see docs/getting-started-aws.md.
