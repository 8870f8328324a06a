environment         = "local"
controller_replicas = 1
node_limits         = { cpu = 8, memory = "16Gi" }
monitoring          = { enabled = false }

# The box cannot pull the charts' images.
wait = false
