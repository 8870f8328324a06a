output "vpc_id" {
  description = "VPC of the environment"
  value       = module.vpc.vpc_id
}

output "vpc_cidr" {
  description = "IPv4 block of the VPC"
  value       = var.cidr
}

output "public_subnet_ids" {
  description = "Subnets of internet-facing load balancers"
  value       = module.vpc.public_subnets
}

output "private_subnet_ids" {
  description = "Subnets of nodes and pods"
  value       = module.vpc.private_subnets
}

output "database_subnet_ids" {
  description = "Subnets of databases and caches, without a route to the internet"
  value       = module.vpc.database_subnets
}

output "database_subnet_cidrs" {
  description = "IPv4 blocks of the databases' subnets, for NetworkPolicies"
  value       = local.database_cidrs
}
