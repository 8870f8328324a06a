environment        = "dev"
region             = "eu-central-1"
monthly_budget_usd = 200
