environment         = "dev"
controller_replicas = 1
node_limits         = { cpu = 8, memory = "16Gi" }
# Saves a node and a volume. Enable it to work on dashboards or alerts.
monitoring = { enabled = false }
