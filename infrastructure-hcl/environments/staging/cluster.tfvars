environment = "staging"
region      = "eu-central-1"

endpoint_public_access_cidrs = ["203.0.113.0/24"]

# Put in your own principals.
access = {
  admins    = ["arn:aws:iam::000000000000:role/platform-admin"]
  deployers = ["arn:aws:iam::000000000000:role/fastify-eks-staging-deploy"]
  readers   = ["arn:aws:iam::000000000000:role/developer"]
}

system_nodes       = { min_size = 2, desired_size = 2, max_size = 3 }
images             = { kept = 5 }
log_types          = ["api", "audit", "authenticator"]
log_retention_days = 30
