# All alarms: what each measures, when it fires, and why.
#
# The metrics of load balancers are queried (Metrics Insights) instead of named: the load balancer controller creates the
# load balancer after the first deploy, and replaces it when the Ingress is recreated. An account holds one environment,
# so all its load balancers in the region belong to it. Queries have no percentiles (docs/adr/0029-load-balancer-alarms-by-query.md).

locals {
  minute = 60

  by_load_balancer = "FROM SCHEMA(\"AWS/ApplicationELB\", LoadBalancer)"
  by_cache_node    = "FROM SCHEMA(\"AWS/ElastiCache\", CacheClusterId)"
  by_target_group  = "FROM SCHEMA(\"AWS/ApplicationELB\", LoadBalancer, TargetGroup)"

  # Each fires when `threshold` is crossed in `datapoints` of the last `periods` periods. Unless an alarm says otherwise, a
  # period without data does not count: no requests means no errors, and a stopped database has no metrics.
  load_balancer_alarms = {
    load-balancer-errors = {
      what       = "The load balancer answered with a 5xx itself"
      why        = "No pod wrote these responses, so the service's own metrics do not contain them. Fewer than 10 in 5 minutes wake nobody, as with the alerts on the objectives"
      query      = "SELECT SUM(HTTPCode_ELB_5XX_Count) ${local.by_load_balancer}"
      above      = 9
      period     = 5 * local.minute
      periods    = 1
      datapoints = 1
    }
    service-errors = {
      what       = "The service answered with 5xx"
      why        = "Where Prometheus is off, nothing else notices. Where it is on, ErrorBudgetBurn is more precise, but ends with the cluster"
      query      = "SELECT SUM(HTTPCode_Target_5XX_Count) ${local.by_load_balancer}"
      above      = 9
      period     = 5 * local.minute
      periods    = 2
      datapoints = 2
    }
    latency = {
      what       = "The average response takes longer than the objective allows the slowest 5 % to take"
      why        = "The objective is 300 ms for 95 % of the requests. If even the average is above it, it is certainly missed. 15 minutes let the autoscaler react first"
      query      = "SELECT AVG(TargetResponseTime) ${local.by_load_balancer}"
      above      = 0.3
      period     = 5 * local.minute
      periods    = 3
      datapoints = 3
    }
    unhealthy-targets = {
      what       = "A target fails its health checks"
      why        = "Rollouts, drains and new nodes make a target unhealthy for up to 2 minutes. 10 minutes are a fault that Kubernetes does not repair"
      query      = "SELECT MAX(UnHealthyHostCount) ${local.by_target_group}"
      above      = 0
      period     = local.minute
      periods    = 10
      datapoints = 10
    }
    no-healthy-target = {
      what       = "A target group has no healthy target"
      why        = "Every request fails. Two of three minutes, because one can be a restart of all pods after a rollback"
      query      = "SELECT MIN(HealthyHostCount) ${local.by_target_group}"
      below      = 1
      period     = local.minute
      periods    = 3
      datapoints = 2
    }
  }

  database_alarms = merge([for name, database in data.aws_db_instance.this : {
    database-cpu = {
      what       = "The database uses more than 80 % of its CPU"
      why        = "A t4g instance earns credits for 10 to 20 %, and pays for surplus. A migration or a VACUUM takes less than 15 minutes at this size"
      namespace  = "AWS/RDS"
      metric     = "CPUUtilization"
      statistic  = "Average"
      dimensions = { DBInstanceIdentifier = name }
      above      = 80
      period     = 5 * local.minute
      periods    = 3
      datapoints = 3
    }
    database-storage = {
      what       = "Less than 20 % of the database's storage is free"
      why        = "RDS stops a full database. It extends the storage only below 10 %, only if it may, and then not again for 6 hours"
      namespace  = "AWS/RDS"
      metric     = "FreeStorageSpace"
      statistic  = "Minimum"
      dimensions = { DBInstanceIdentifier = name }
      below      = database.allocated_storage * pow(1024, 3) * 0.2
      period     = 5 * local.minute
      periods    = 1
      datapoints = 1
    }
    database-connections = {
      what       = "The database has more than ${var.database_connections} connections"
      why        = "The service does not open more at its maximum of pods, so someone else does, and soon no pod can connect"
      namespace  = "AWS/RDS"
      metric     = "DatabaseConnections"
      statistic  = "Maximum"
      dimensions = { DBInstanceIdentifier = name }
      above      = var.database_connections
      period     = local.minute
      periods    = 5
      datapoints = 5
    }
  }]...)

  # By query, because a failover and a replacement change the nodes.
  cache_alarms = merge([for group in local.caches : {
    cache-evictions = {
      what       = "The cache removes entries to make room for new ones"
      why        = "The entries no longer fit, so more reads go to the database. 15 minutes in a row are not a burst"
      query      = "SELECT SUM(Evictions) ${local.by_cache_node}"
      above      = 0
      period     = 5 * local.minute
      periods    = 3
      datapoints = 3
    }
    # Without replicas, there is no data.
    cache-replica-lag = {
      what       = "A replica of the cache is more than 5 seconds behind its primary"
      why        = "Usually it is less than one. A failover loses what the replica does not have, and its clients read old entries"
      query      = "SELECT MAX(ReplicationLag) ${local.by_cache_node}"
      above      = 5
      period     = local.minute
      periods    = 5
      datapoints = 5
    }
  }]...)

  nat_alarms = merge(
    { for id in flatten(values(data.aws_nat_gateways.this)[*].ids) : "nat-ports/${id}" => {
      what       = "The NAT gateway ${id} has no port left for new connections"
      why        = "It has 55,000 for each destination, so someone opens too many connections to one. Each error is a connection that failed"
      namespace  = "AWS/NATGateway"
      metric     = "ErrorPortAllocation"
      statistic  = "Sum"
      dimensions = { NatGatewayId = id }
      above      = 0
      period     = 5 * local.minute
      periods    = 1
      datapoints = 1
    } },
    { for id in flatten(values(data.aws_instances.nat)[*].ids) : "nat-instance/${id}" => {
      what       = "The NAT instance ${id} fails its status checks"
      why        = "No pod and no node reaches the internet. EC2 recovers an instance whose hardware failed within 5 minutes, not one whose system hangs"
      namespace  = "AWS/EC2"
      metric     = "StatusCheckFailed"
      statistic  = "Maximum"
      dimensions = { InstanceId = id }
      above      = 0
      period     = local.minute
      periods    = 5
      datapoints = 5
    } },
  )

  sleep_alarms = { for group in aws_scheduler_schedule_group.sleep : "sleep-failed" => {
    what       = "A step of going to sleep or waking up failed, after an hour of attempts"
    why        = "Otherwise someone finds out in the morning that there is no environment, or at the end of the month that it never slept"
    namespace  = "AWS/Scheduler"
    metric     = "InvocationDroppedCount"
    statistic  = "Sum"
    dimensions = { ScheduleGroup = group.name }
    above      = 0
    period     = 5 * local.minute
    periods    = 1
    datapoints = 1
  } }

  alarms = merge(local.load_balancer_alarms, local.database_alarms, local.cache_alarms, local.nat_alarms, local.sleep_alarms)

  alarm_names = { for name in keys(local.alarms) : name => "${var.cluster_name}-${replace(name, "/", "-")}" }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name = local.alarm_names[each.key]
  # An alarm for each of several resources has one section for all of them.
  alarm_description = "${each.value.what}. ${each.value.why}. ${var.documentation_url}#${split("/", each.key)[0]}"

  comparison_operator = try(each.value.above, null) != null ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = try(each.value.above, each.value.below)
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.datapoints
  treat_missing_data  = "notBreaching"

  alarm_actions = [aws_sns_topic.alarms.arn]
  ok_actions    = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "value"
    label       = each.value.what
    expression  = try(each.value.query, null)
    period      = try(each.value.query, null) == null ? null : each.value.period
    return_data = true

    dynamic "metric" {
      for_each = try(each.value.query, null) == null ? [each.value] : []

      content {
        namespace   = metric.value.namespace
        metric_name = metric.value.metric
        stat        = metric.value.statistic
        period      = metric.value.period
        dimensions  = metric.value.dimensions
      }
    }
  }

  # The schedule of sleep.tf silences alarms at night.
  lifecycle {
    ignore_changes = [actions_enabled]
  }
}
