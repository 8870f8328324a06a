environment = "prod"
region      = "eu-central-1"

cidr  = "10.0.0.0/16"
zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
nat   = "gateway-per-zone"

flow_logs = { traffic = "ALL", retention_days = 90 }

permissions_boundary = "fastify-eks-boundary"
