environment         = "staging"
controller_replicas = 2
node_limits         = { cpu = 8, memory = "16Gi" }
monitoring          = { enabled = true, adapter = true }
# In the cluster, with panels and links in Grafana.
logs   = { store = "loki" }
traces = { backend = "tempo" }
