environment = "staging"
region      = "eu-central-1"

cidr  = "10.0.0.0/16"
zones = ["eu-central-1a", "eu-central-1b"]
nat   = "gateway"

flow_logs = { traffic = "REJECT", retention_days = 14 }

permissions_boundary = "fastify-eks-boundary"
