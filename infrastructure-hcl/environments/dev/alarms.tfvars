environment = "dev"
region      = "eu-central-1"

# Replace the address. Each one has to confirm its subscription.
emails = ["alarms@example.com"]

permissions_boundary = "fastify-eks-boundary"

# A day costs about 5.
daily_budget_usd = 12

# No nodes and no database at night: docs/alarms.md. Null if the environment must answer at any time. With days = "MON-FRI",
# it sleeps on weekends too.
sleep = { from = "22:00", until = "06:00", days = "SUN-SAT", timezone = "Europe/Berlin" }
