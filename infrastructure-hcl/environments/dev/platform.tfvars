environment         = "dev"
controller_replicas = 1
node_limits         = { cpu = 8, memory = "16Gi" }
# A node and a volume less: dashboards over a dev cluster are for who works on them, who switches this on.
monitoring = { enabled = false }
