environment         = "local"
controller_replicas = 1
node_limits         = { cpu = 8, memory = "16Gi" }
monitoring          = { enabled = false }

# The box cannot reach the registries of the charts' images.
wait = false
