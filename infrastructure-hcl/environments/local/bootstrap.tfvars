environment        = "local"
region             = "eu-central-1"
monthly_budget_usd = 200

budget_emails = ["somebody@example.com"]
repository    = { name = "example/fastify-eks", id = "1", owner_id = "1" }
