# The module releases validates the variables that it receives.

variable "environment" {
  description = "Name of the environment, used in the tags of nodes"
  type        = string
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
}

variable "chart_versions" {
  description = "Versions of third-party charts that replace the pinned ones, by the chart's name"
  type        = map(string)
  default     = {}
}

variable "wait" {
  description = "Whether to wait until a release's pods are ready, and to roll the release back otherwise. Set to false for clusters that cannot pull the images"
  type        = bool
  default     = true
}

variable "controller_replicas" {
  description = "Replicas of Karpenter and of the load balancer controller. Each replica of Karpenter needs its own system node"
  type        = number
}

variable "node_limits" {
  description = "Total vCPUs and memory (such as 16Gi) of all nodes that Karpenter launches"
  type = object({
    cpu    = number
    memory = string
  })
}

variable "node_types" {
  description = "Architecture (arm64 or amd64) and instance types of the nodes that Karpenter launches. If null, the defaults of the chart karpenter-nodes"
  type = object({
    architecture   = string
    instance_types = list(string)
  })
  default = null
}

variable "monitoring" {
  description = "Whether to install Prometheus, Alertmanager and Grafana, the retention of metrics in days, the size of their volume, and the receivers of alerts"
  type = object({
    enabled        = bool
    retention_days = optional(number, 7)
    volume_gib     = optional(number, 10)
    # Whether the HPA can scale by event loop utilisation and by requests.
    adapter = optional(bool, false)
    # Secret in the namespace monitoring with admin-user and admin-password. If null, the chart generates a password.
    grafana_secret = optional(string)
    # Directory of docs/runbooks on the web. If null, the default of the chart cluster-monitoring.
    runbook_url = optional(string)
    # Topic for notifications, and the role with which Alertmanager publishes to it.
    sns_topic_arn = optional(string)
    sns_role_arn  = optional(string)
    # Secret in the namespace monitoring. Its key url is a webhook that receives notifications.
    webhook_secret = optional(string)
  })
}

variable "logs" {
  description = "Store of the containers' logs: none, cloudwatch (the cluster stack's log group, with its retention) or loki, with the retention in days and the size of its volume"
  type = object({
    store          = string
    retention_days = optional(number, 7)
    volume_gib     = optional(number, 10)
  })
  default = { store = "none" }
}

variable "traces" {
  description = "Backend of the services' traces: none, xray or tempo, with the retention in days and the size of its volume"
  type = object({
    backend        = string
    retention_days = optional(number, 3)
    volume_gib     = optional(number, 10)
  })
  default = { backend = "none" }
}
