environment        = "dev"
region             = "eu-central-1"
monthly_budget_usd = 200

# Add `repository` and `budget_emails`: see docs/getting-started-aws.md.
