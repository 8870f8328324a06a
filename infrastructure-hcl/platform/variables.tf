variable "environment" {
  description = "Name of the environment, for the tags of nodes"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment must be 2 to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "cluster_state" {
  description = "Where the cluster stack keeps its state: kind of backend, and its settings (bucket, key, region; or path)"
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
  description = "Where all third-party charts come from instead of their publishers: a directory or URL with <name>-<version>.tgz, or an oci:// registry"
  type        = string
  default     = null

  validation {
    condition     = var.chart_mirror == null || can(regex("^(oci://|https://|/).*[^/]$", var.chart_mirror))
    error_message = "chart_mirror must be an absolute directory, an https:// URL or an oci:// URL, without a slash at its end."
  }
}

variable "wait" {
  description = "Whether a release counts only once its pods are ready, and is undone otherwise. False is for clusters that cannot pull the images"
  type        = bool
  default     = true
}

variable "controller_replicas" {
  description = "Replicas of Karpenter and of the load balancer controller, each on a system node of its own"
  type        = number

  validation {
    condition     = contains([1, 2], var.controller_replicas)
    error_message = "controller_replicas must be 1 or 2: one leads, a second takes over, a third has nothing to do."
  }
}

variable "node_limits" {
  description = "What all nodes that Karpenter launches may have together: vCPUs, and memory such as 16Gi"
  type = object({
    cpu    = number
    memory = string
  })

  validation {
    condition     = var.node_limits.cpu >= 2 && floor(var.node_limits.cpu) == var.node_limits.cpu
    error_message = "node_limits.cpu must be a whole number of at least 2, the vCPUs of one t4g.small."
  }

  validation {
    condition     = can(regex("^[1-9][0-9]*Gi$", var.node_limits.memory))
    error_message = "node_limits.memory must be in Gi, such as 16Gi."
  }
}

variable "monitoring" {
  description = "Whether Prometheus and Grafana run in the cluster, for how many days metrics are kept, and on how large a volume"
  type = object({
    enabled        = bool
    retention_days = optional(number, 7)
    volume_gib     = optional(number, 10)
  })

  validation {
    condition     = var.monitoring.retention_days >= 1 && var.monitoring.volume_gib >= 5
    error_message = "monitoring needs a retention_days of at least 1 and a volume_gib of at least 5."
  }
}
