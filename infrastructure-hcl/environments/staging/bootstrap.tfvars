environment        = "staging"
region             = "eu-central-1"
monthly_budget_usd = 200
