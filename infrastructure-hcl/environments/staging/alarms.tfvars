environment = "staging"
region      = "eu-central-1"

# Replace the address. Each one has to confirm its subscription.
emails = ["alarms@example.com"]

permissions_boundary = "fastify-eks-boundary"

daily_budget_usd = 15
