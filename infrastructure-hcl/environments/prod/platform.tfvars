environment         = "prod"
controller_replicas = 2
node_limits         = { cpu = 16, memory = "32Gi" }
monitoring          = { enabled = true, retention_days = 15, volume_gib = 20 }
