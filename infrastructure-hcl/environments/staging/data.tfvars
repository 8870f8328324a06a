environment = "staging"

database = {
  instance_class        = "db.t4g.micro"
  multi_az              = false
  backup_retention_days = 7
  deletion_protection   = false
  final_snapshot        = true
}
cache = { node_type = "cache.t4g.micro", replicas = 0 }
