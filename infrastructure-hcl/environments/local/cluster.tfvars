environment = "local"
region      = "eu-central-1"

endpoint_public_access_cidrs = ["127.0.0.0/8"]

access = {
  admins    = ["arn:aws:iam::123456789012:user/operator"]
  deployers = ["arn:aws:iam::123456789012:role/fastify-eks-deploy"]
  readers   = ["arn:aws:iam::123456789012:role/fastify-eks-readonly"]
}

images = { force_delete = true }
