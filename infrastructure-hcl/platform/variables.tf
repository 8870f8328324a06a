variable "environment" {
  description = "Name of the environment, used in the tags of nodes"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment must be 2 to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "cluster_state" {
  description = "Location of the cluster stack's state: type of backend, and its settings (bucket, key and region, or path)"
  type = object({
    backend = string
    config  = map(string)
  })

  validation {
    condition     = contains(["s3", "local"], var.cluster_state.backend)
    error_message = "cluster_state.backend must be s3 or local."
  }
}

variable "chart_mirror" {
  description = "Mirror of all third-party charts: a directory or URL with <name>-<version>.tgz, or an oci:// registry. If null, the charts come from their publishers"
  type        = string
  default     = null

  validation {
    condition     = var.chart_mirror == null || can(regex("^(oci://|https://|/).*[^/]$", var.chart_mirror))
    error_message = "chart_mirror must be an absolute path, an https:// URL or an oci:// URL, without a trailing slash."
  }
}

variable "wait" {
  description = "Whether to wait until a release's pods are ready, and to roll the release back otherwise. Set to false for clusters that cannot pull the images"
  type        = bool
  default     = true
}

variable "controller_replicas" {
  description = "Replicas of Karpenter and of the load balancer controller. Each replica of Karpenter needs its own system node"
  type        = number

  validation {
    condition     = contains([1, 2], var.controller_replicas)
    error_message = "controller_replicas must be 1 or 2: one replica leads, the second takes over if it fails, and a third would be idle."
  }
}

variable "node_limits" {
  description = "Total vCPUs and memory (such as 16Gi) of all nodes that Karpenter launches"
  type = object({
    cpu    = number
    memory = string
  })

  validation {
    condition     = var.node_limits.cpu >= 2 && floor(var.node_limits.cpu) == var.node_limits.cpu
    error_message = "node_limits.cpu must be a whole number of at least 2, the number of vCPUs of a t4g.small."
  }

  validation {
    condition     = can(regex("^[1-9][0-9]*Gi$", var.node_limits.memory))
    error_message = "node_limits.memory must be in Gi, such as 16Gi."
  }
}

variable "monitoring" {
  description = "Whether to install Prometheus and Grafana, the retention of metrics in days, and the size of their volume"
  type = object({
    enabled        = bool
    retention_days = optional(number, 7)
    volume_gib     = optional(number, 10)
  })

  validation {
    condition     = var.monitoring.retention_days >= 1 && var.monitoring.volume_gib >= 5
    error_message = "monitoring requires retention_days of at least 1 and volume_gib of at least 5."
  }
}
