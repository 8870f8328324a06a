environment        = "local"
region             = "eu-central-1"
monthly_budget_usd = 200

# For the other environments, set these on the command line: see docs/ci-cd.md.
budget_emails = ["somebody@example.com"]
repository    = { name = "example/fastify-eks", id = "1", owner_id = "1" }
