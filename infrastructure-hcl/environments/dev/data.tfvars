environment = "dev"

# The cheapest sizes, in one zone: an outage of the zone, or a new version, interrupts both.
database = {
  instance_class        = "db.t4g.micro"
  multi_az              = false
  backup_retention_days = 1
  deletion_protection   = false
  final_snapshot        = false
}
cache = { node_type = "cache.t4g.micro", replicas = 0 }

log_retention_days = 7
