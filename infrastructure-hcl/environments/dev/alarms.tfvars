environment = "dev"
region      = "eu-central-1"

# Replace the address. Each one has to confirm its subscription.
emails = ["alarms@example.com"]

permissions_boundary = "fastify-eks-boundary"

# A day costs about 6.
daily_budget_usd = 12

# No nodes and no database at night: docs/alarms.md. Releases deploy to dev first, so they fail then.
# sleep = { from = "22:00", until = "06:00", days = "SUN-SAT", timezone = "Europe/Berlin" }
