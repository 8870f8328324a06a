environment = "dev"
region      = "eu-central-1"

endpoint_public_access_cidrs = ["203.0.113.0/24"]

# Replace the account number and the principals. The bootstrap stack creates the roles named fastify-eks-*.
access = {
  admins    = ["arn:aws:iam::000000000000:role/platform-admin", "arn:aws:iam::000000000000:role/fastify-eks-apply"]
  deployers = ["arn:aws:iam::000000000000:role/fastify-eks-deploy"]
  planners  = ["arn:aws:iam::000000000000:role/fastify-eks-plan"]
  readers   = ["arn:aws:iam::000000000000:role/developer"]
}

permissions_boundary = "fastify-eks-boundary"

# The minimum lets the alarms stack put the nodes to sleep.
system_nodes       = { min_size = 0, desired_size = 2, max_size = 3 }
images             = { kept = 5, force_delete = true }
log_types          = ["authenticator"]
log_retention_days = 7
