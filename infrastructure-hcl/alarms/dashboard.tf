# One graph for each alarm with its threshold, below the state of all of them. The percentiles of the latency can be
# searched for, although no alarm can use a search.

locals {
  # The grid of a dashboard is 24 wide: two graphs beside each other.
  graph = { width = 12, height = 6 }

  metrics = { for name, alarm in local.alarms : name => try(
    [[{ expression = alarm.query, label = alarm.what, period = alarm.period }]],
    [concat(
      [alarm.namespace, alarm.metric],
      flatten([for key, value in alarm.dimensions : [key, value]]),
      [{ stat = alarm.statistic, period = alarm.period, label = alarm.what }],
    )],
  ) }

  graphs = concat(
    [for name, alarm in local.alarms : {
      title   = name
      metrics = local.metrics[name]
      limit   = try(alarm.above, alarm.below)
    }],
    [
      {
        title   = "Latency: p50, p95 and p99"
        metrics = [for percentile in ["p50", "p95", "p99"] : [{ expression = "SEARCH('{AWS/ApplicationELB,LoadBalancer} MetricName=\"TargetResponseTime\"', '${percentile}', 60)", label = percentile }]]
        limit   = local.load_balancer_alarms.latency.above
      },
      {
        title   = "Requests per minute"
        metrics = [[{ expression = "SELECT SUM(RequestCount) ${local.by_load_balancer}", label = "requests", period = local.minute }]]
        limit   = null
      },
    ],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = "${var.cluster_name}-${var.environment}"

  dashboard_body = jsonencode({
    widgets = concat(
      [{
        type       = "alarm"
        x          = 0
        y          = 0
        width      = 2 * local.graph.width
        height     = 3
        properties = { title = "Alarms", alarms = values(aws_cloudwatch_metric_alarm.this)[*].arn }
      }],
      [for index, graph in local.graphs : {
        type   = "metric"
        x      = index % 2 * local.graph.width
        y      = 3 + floor(index / 2) * local.graph.height
        width  = local.graph.width
        height = local.graph.height
        properties = {
          title       = graph.title
          region      = var.region
          view        = "timeSeries"
          metrics     = graph.metrics
          annotations = { horizontal = [for limit in [graph.limit] : { label = "alarm", value = limit } if limit != null] }
        }
      }],
    )
  })
}
