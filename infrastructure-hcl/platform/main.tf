data "terraform_remote_state" "cluster" {
  backend = var.cluster_state.backend
  config  = var.cluster_state.config

  lifecycle {
    postcondition {
      condition     = can(self.outputs.cluster_name)
      error_message = "The cluster stack's state has no outputs: apply that stack first, or correct cluster_state."
    }
  }
}

locals {
  cluster = data.terraform_remote_state.cluster.outputs
}

# Describes all releases. Without the Helm provider, `make apply` installs them in the box from the same description.
module "releases" {
  source = "./releases"

  cluster             = local.cluster
  environment         = var.environment
  chart_mirror        = var.chart_mirror
  chart_versions      = var.chart_versions
  wait                = var.wait
  controller_replicas = var.controller_replicas
  node_limits         = var.node_limits
  node_types          = var.node_types
  monitoring          = var.monitoring
  logs                = var.logs
  traces              = var.traces
}
