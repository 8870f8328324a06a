environment         = "local"
controller_replicas = 1
node_limits         = { cpu = 8, memory = "16Gi" }
monitoring          = { enabled = false }

# The box builds the controllers and their charts from Go modules. The module proxy does not serve the pinned versions of
# these.
chart_versions = { aws-load-balancer-controller = "3.2.2", external-secrets = "0.20.4" }
