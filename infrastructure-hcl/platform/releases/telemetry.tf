# Logs and traces: their stores, and what sends to them.
locals {
  ships_logs      = var.logs.store != "none"
  collects_traces = var.traces.backend != "none"

  telemetry = {
    loki = {
      stage     = "workloads"
      enabled   = var.logs.store == "loki"
      namespace = "monitoring"
      chart     = local.charts.loki
      values = templatefile("${path.module}/values/loki.yaml", {
        retention_days = var.logs.retention_days
        volume_gib     = var.logs.volume_gib
        monitoring     = var.monitoring.enabled
      })
      # Includes the launch of a node.
      timeout = 600
    }

    fluent-bit = {
      stage     = "workloads"
      enabled   = local.ships_logs
      namespace = "monitoring"
      chart     = local.charts.fluent-bit
      values = templatefile("${path.module}/values/fluent-bit.yaml", {
        store      = var.logs.store
        region     = var.cluster.region
        log_group  = var.cluster.pod_log_group
        monitoring = var.monitoring.enabled
      })
    }

    tempo = {
      stage     = "workloads"
      enabled   = var.traces.backend == "tempo"
      namespace = "monitoring"
      chart     = local.charts.tempo
      values = templatefile("${path.module}/values/tempo.yaml", {
        retention_days = var.traces.retention_days
        volume_gib     = var.traces.volume_gib
        monitoring     = var.monitoring.enabled
      })
      timeout = 600
    }

    opentelemetry-collector = {
      stage     = "workloads"
      enabled   = local.collects_traces
      namespace = "monitoring"
      chart     = local.charts.opentelemetry-collector
      values = templatefile("${path.module}/values/opentelemetry-collector.yaml", {
        backend    = var.traces.backend
        region     = var.cluster.region
        monitoring = var.monitoring.enabled
      })
      timeout = 600
    }
  }
}
