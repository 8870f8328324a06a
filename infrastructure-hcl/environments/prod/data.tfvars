environment = "prod"

database = {
  instance_class        = "db.t4g.medium"
  storage_gib           = 50
  max_storage_gib       = 500
  multi_az              = true
  backup_retention_days = 14
  deletion_protection   = true
  final_snapshot        = true
}
cache = { node_type = "cache.t4g.small", replicas = 1 }

log_retention_days = 90
