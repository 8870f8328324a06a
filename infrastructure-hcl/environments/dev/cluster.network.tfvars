# Where the network comes from: "stack" for the stack network, whose variables are in network.tfvars, or "existing" for
# a VPC that you have already, by its ids.
network = "stack"
# vpc_id             = "vpc-00000000000000000"
# public_subnet_ids  = ["subnet-00000000000000001", "subnet-00000000000000002"]
# private_subnet_ids = ["subnet-00000000000000003", "subnet-00000000000000004"]

# The KMS key for Kubernetes Secrets. The bootstrap stack creates it once per account.
secrets_key = "alias/fastify-eks-secrets"
