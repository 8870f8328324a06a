environment = "dev"
region      = "eu-central-1"

cidr  = "10.0.0.0/16"
zones = ["eu-central-1a", "eu-central-1b"]
# The cheapest: one small instance. docs/infrastructure.md says what that costs in availability.
nat = "instance"

permissions_boundary = "fastify-eks-boundary"
