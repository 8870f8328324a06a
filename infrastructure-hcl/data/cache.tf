resource "aws_elasticache_subnet_group" "this" {
  name        = local.name
  description = "Cache of ${local.name}"
  subnet_ids  = local.subnet_ids
}

# The token that clients must present is not here, because provider version 5 would write it to the state: `make apply`
# copies it from the service's secret (docs/adr/0025-passwords-outside-the-state.md).
resource "aws_elasticache_replication_group" "this" {
  #checkov:skip=CKV_AWS_31: `make apply` sets the token
  #checkov:skip=CKV_AWS_191: ElastiCache encrypts with the key that AWS manages; a key of our own costs 1 USD a month
  #checkov:skip=CKV2_AWS_50: only prod has a replica, to which ElastiCache fails over
  replication_group_id = local.name
  description          = "Cache of ${local.name}"
  engine               = "valkey"
  engine_version       = var.cache.engine_version
  parameter_group_name = "default.valkey${split(".", var.cache.engine_version)[0]}"
  node_type            = var.cache.node_type

  num_cache_clusters         = 1 + var.cache.replicas
  automatic_failover_enabled = var.cache.replicas > 0
  multi_az_enabled           = var.cache.replicas > 0

  port               = local.servers.cache.port
  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [aws_security_group.this["cache"].id]

  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"

  # In UTC, not at the same time as the database's.
  maintenance_window         = "wed:02:30-wed:03:30"
  auto_minor_version_upgrade = true
  apply_immediately          = true

  # The cache can be lost: the service reads again from the database.
  snapshot_retention_limit = 0
}
