environment = "local"

# The box has one PostgreSQL server and one cache server of their own sizes. RDS' version is that of the other
# environments; the server's is that of the machine's package.
database = {
  instance_class        = "db.t4g.micro"
  multi_az              = false
  backup_retention_days = 1
  deletion_protection   = false
  final_snapshot        = false
}
cache = { node_type = "cache.t4g.micro", replicas = 0 }
