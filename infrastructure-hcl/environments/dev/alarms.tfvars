environment = "dev"
region      = "eu-central-1"

# Replace the address. Each one has to confirm its subscription.
emails = ["alarms@example.com"]

permissions_boundary = "fastify-eks-boundary"

# A cluster with nodes and load balancer costs about 5 a day, a complete environment about 6.
daily_budget_usd = 12

# Nights and weekends without nodes and database: docs/alarms.md.
# sleep = { from = "20:00", until = "07:00", timezone = "Europe/Berlin" }
