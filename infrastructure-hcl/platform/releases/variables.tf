variable "environment" {
  description = "Name of the environment, used in the tags of nodes"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment must be 2 to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "cluster" {
  description = "The outputs of the cluster stack that the releases need"
  type = object({
    region                            = string
    cluster_name                      = string
    vpc_id                            = string
    karpenter_queue_name              = string
    karpenter_node_role_name          = string
    node_subnet_ids                   = list(string)
    load_balancer_controller_role_arn = string
    metrics_server_addon              = bool
    deploy_group                      = string
    pod_log_group                     = optional(string)
    trace_role                        = optional(bool, false)
  })
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

variable "chart_versions" {
  description = "Versions of third-party charts that replace the pinned ones, by the chart's name"
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.chart_versions), keys(local.third_party_charts))) == 0
    error_message = "chart_versions can contain only ${join(", ", keys(local.third_party_charts))}."
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

variable "node_types" {
  description = "Architecture (arm64 or amd64) and instance types of the nodes that Karpenter launches. If null, the defaults of the chart karpenter-nodes"
  type = object({
    architecture   = string
    instance_types = list(string)
  })
  default = null

  validation {
    condition     = var.node_types == null || (contains(["arm64", "amd64"], try(var.node_types.architecture, "")) && length(try(var.node_types.instance_types, [])) > 0)
    error_message = "node_types.architecture must be arm64 or amd64, and node_types.instance_types must not be empty."
  }
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

  validation {
    # The slowest alert looks back three days.
    condition     = var.monitoring.retention_days >= 3 && var.monitoring.volume_gib >= 5
    error_message = "monitoring requires retention_days of at least 3 and volume_gib of at least 5."
  }

  validation {
    condition     = var.monitoring.sns_topic_arn == null || can(regex("^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.monitoring.sns_topic_arn))
    error_message = "monitoring.sns_topic_arn must be the ARN of a standard SNS topic."
  }

  validation {
    condition     = (var.monitoring.sns_topic_arn == null) == (var.monitoring.sns_role_arn == null)
    error_message = "monitoring.sns_topic_arn and monitoring.sns_role_arn must be set together: Alertmanager publishes to the topic with the role."
  }
}

variable "logs" {
  description = "Store of the containers' logs: none, cloudwatch (the cluster stack's log group, with its retention) or loki, with the retention in days and the size of its volume"
  type = object({
    store          = string
    retention_days = optional(number, 7)
    volume_gib     = optional(number, 10)
  })
  default = { store = "none" }

  validation {
    condition     = contains(["none", "cloudwatch", "loki"], var.logs.store)
    error_message = "logs.store must be none, cloudwatch or loki."
  }

  validation {
    condition     = var.logs.store != "cloudwatch" || var.cluster.pod_log_group != null
    error_message = "logs.store = cloudwatch needs the log group of the cluster stack: set cloudwatch = { logs = true } there, and apply it first."
  }

  validation {
    condition     = var.logs.store != "loki" || var.monitoring.enabled
    error_message = "logs.store = loki needs monitoring.enabled: without Grafana, nothing shows the logs."
  }

  validation {
    condition     = var.logs.retention_days >= 1 && floor(var.logs.retention_days) == var.logs.retention_days && var.logs.volume_gib >= 5
    error_message = "logs requires retention_days of whole days and volume_gib of at least 5."
  }
}

variable "traces" {
  description = "Backend of the services' traces: none, xray or tempo, with the retention in days and the size of its volume"
  type = object({
    backend        = string
    retention_days = optional(number, 3)
    volume_gib     = optional(number, 10)
  })
  default = { backend = "none" }

  validation {
    condition     = contains(["none", "xray", "tempo"], var.traces.backend)
    error_message = "traces.backend must be none, xray or tempo."
  }

  validation {
    condition     = var.traces.backend != "xray" || var.cluster.trace_role
    error_message = "traces.backend = xray needs the role of the cluster stack: set cloudwatch = { traces = true } there, and apply it first."
  }

  validation {
    condition     = var.traces.backend != "tempo" || var.monitoring.enabled
    error_message = "traces.backend = tempo needs monitoring.enabled: without Grafana, nothing shows the traces."
  }

  validation {
    condition     = var.traces.retention_days >= 1 && floor(var.traces.retention_days) == var.traces.retention_days && var.traces.volume_gib >= 5
    error_message = "traces requires retention_days of whole days and volume_gib of at least 5."
  }
}
