output "service_secret" {
  description = "Name of the secret with the service's connection URLs"
  value       = aws_secretsmanager_secret.this["service"].name
}

output "migration_secret" {
  description = "Name of the secret with the connection URL of the tables' owner"
  value       = aws_secretsmanager_secret.this["migration"].name
}

output "master_secret" {
  description = "ARN of the secret with the name and password of the database's master user, which RDS manages"
  value       = one(aws_db_instance.this.master_user_secret[*].secret_arn)
}

output "database" {
  description = "Address of the database, its name, and the address ranges that it can be in"
  value = {
    host  = aws_db_instance.this.address
    port  = aws_db_instance.this.port
    name  = aws_db_instance.this.db_name
    cidrs = sort([for subnet in data.aws_subnet.this : subnet.cidr_block])
  }
}

output "cache" {
  description = "Replication group of the cache, its address, and the address ranges that it can be in"
  value = {
    replication_group_id = aws_elasticache_replication_group.this.id
    host                 = aws_elasticache_replication_group.this.primary_endpoint_address
    port                 = local.servers.cache.port
    cidrs                = sort([for subnet in data.aws_subnet.this : subnet.cidr_block])
  }
}
