environment        = "prod"
region             = "eu-central-1"
monthly_budget_usd = 400

# Add `repository` and `budget_emails`: see docs/getting-started-aws.md.
