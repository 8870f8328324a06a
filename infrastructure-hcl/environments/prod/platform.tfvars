environment         = "prod"
controller_replicas = 2
node_limits         = { cpu = 16, memory = "32Gi" }
monitoring          = { enabled = true, adapter = true, retention_days = 15, volume_gib = 20 }
# Outside the cluster, so that the logs outlive it. Traces cost each request CPU time: see docs/monitoring.md.
logs   = { store = "cloudwatch" }
traces = { backend = "none" }
