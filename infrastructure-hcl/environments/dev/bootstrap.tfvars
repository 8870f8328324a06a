environment = "dev"
region      = "eu-central-1"

# About 1.4 times what the idle environment costs: docs/cost.md.
monthly_budget_usd = 240

# Add `repository` and `budget_emails`: see docs/getting-started-aws.md.
