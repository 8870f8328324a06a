environment         = "dev"
controller_replicas = 1
node_limits         = { cpu = 8, memory = "16Gi" }
monitoring          = { enabled = true, retention_days = 2, volume_gib = 5 }
