# The network this environment's cluster goes into. Replace these ids with your own: they are well formed but made up.
vpc_id             = "vpc-00000000000000000"
public_subnet_ids  = ["subnet-00000000000000001", "subnet-00000000000000002"]
private_subnet_ids = ["subnet-00000000000000003", "subnet-00000000000000004"]

# The key for Kubernetes' Secrets, which bootstrap creates once for the account.
secrets_key = "alias/fastify-eks-secrets"
