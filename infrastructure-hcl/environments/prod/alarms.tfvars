environment = "prod"
region      = "eu-central-1"

# Replace the address. Each one has to confirm its subscription.
emails = ["alarms@example.com"]

permissions_boundary = "fastify-eks-boundary"

# At 10 replicas. With more, raise it together with the database's class.
database_connections = 66
daily_budget_usd     = 30
