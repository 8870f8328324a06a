environment = "prod"
region      = "eu-central-1"

endpoint_public_access_cidrs = []

# Replace the account number and the principals. The bootstrap stack creates the roles named fastify-eks-*.
access = {
  admins    = ["arn:aws:iam::000000000000:role/platform-admin", "arn:aws:iam::000000000000:role/fastify-eks-apply"]
  deployers = ["arn:aws:iam::000000000000:role/fastify-eks-deploy"]
  planners  = ["arn:aws:iam::000000000000:role/fastify-eks-plan"]
  readers   = ["arn:aws:iam::000000000000:role/developer"]
}

permissions_boundary = "fastify-eks-boundary"

system_nodes        = { min_size = 3, desired_size = 3, max_size = 4, disk_gib = 30 }
images              = { kept = 20 }
log_types           = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
log_retention_days  = 90
deletion_protection = true
cloudwatch          = { logs = true, log_retention_days = 90 }
