# Puts the environment to sleep. The scheduler calls the AWS APIs itself, so nothing of ours must run at night.
#
# The order matters. Karpenter runs on the system nodes. Once they are gone, no one replaces the nodes that Karpenter
# launched, and no one terminates them either, so the schedule does. In the other order, Karpenter would launch new ones.
# When Karpenter is back, it finds that the instances of its NodeClaims are gone, and launches what the pods need.

locals {
  sleeps = var.sleep == null ? {} : { sleep = var.sleep }

  node_group = try(local.outputs["cluster"].system_node_group, null)

  sleep_name = "${var.cluster_name}-sleep"

  # Minutes after `from` or `until`. A node group needs up to 15 minutes to drain its nodes; a database, about 5 to start.
  sleep_steps = merge(concat(
    [for sleep in values(local.sleeps) : {
      # The controller goes with the nodes, and cannot remove the pods from its target groups any more.
      alarms-off = {
        at     = sleep.from
        after  = 0
        target = "cloudwatch:disableAlarmActions"
        input  = { AlarmNames = local.silenced_alarms }
      }
      alarms-on = {
        at     = sleep.until
        after  = 40
        target = "cloudwatch:enableAlarmActions"
        input  = { AlarmNames = local.silenced_alarms }
      }
      system-nodes-off = {
        at     = sleep.from
        after  = 0
        target = "eks:updateNodegroupConfig"
        input = {
          ClusterName   = var.cluster_name
          NodegroupName = try(local.node_group.name, "")
          ScalingConfig = { DesiredSize = 0 }
        }
      }
      system-nodes-on = {
        at     = sleep.until
        after  = 10
        target = "eks:updateNodegroupConfig"
        input = {
          ClusterName   = var.cluster_name
          NodegroupName = try(local.node_group.name, "")
          ScalingConfig = { DesiredSize = try(local.node_group.desired_size, 0) }
        }
      }
      karpenter-nodes-off = {
        at     = sleep.from
        after  = 30
        target = "ssm:startAutomationExecution"
        input = {
          DocumentName        = "AWS-TerminateEC2Instance"
          TargetParameterName = "InstanceId"
          # Karpenter's tag. Managed node groups have eks:cluster-name instead.
          Targets        = [{ Key = "tag:${local.karpenter_tag}", Values = [var.cluster_name] }]
          MaxConcurrency = "100%"
          MaxErrors      = "100%"
          Parameters     = { AutomationAssumeRole = values(aws_iam_role.terminate_nodes)[*].arn }
        }
      }
    }],
    [for name in keys(data.aws_db_instance.this) : {
      database-off = {
        at     = var.sleep.from
        after  = 30
        target = "rds:stopDBInstance"
        input  = { DbInstanceIdentifier = name }
      }
      database-on = {
        at     = var.sleep.until
        after  = 0
        target = "rds:startDBInstance"
        input  = { DbInstanceIdentifier = name }
      }
    } if var.sleep != null],
  )...)

  silenced_alarms = [for name in keys(local.load_balancer_alarms) : local.alarm_names[name]]

  karpenter_tag = "eks:eks-cluster-name"

  terminate_role_name = "${local.sleep_name}-terminate-nodes"

  boundary_arn = var.permissions_boundary == null ? null : "arn:${local.partition}:iam::${local.account}:policy/${var.permissions_boundary}"
}

resource "aws_scheduler_schedule_group" "sleep" {
  for_each = local.sleeps

  name = local.sleep_name

  lifecycle {
    precondition {
      condition     = local.node_group != null
      error_message = "sleep needs the node group of the cluster stack: apply that stack first."
    }

    precondition {
      condition     = try(local.node_group.min_size, 0) == 0
      error_message = "sleep needs system_nodes.min_size = 0 in the cluster stack: EKS refuses fewer nodes than the minimum."
    }
  }
}

resource "aws_scheduler_schedule" "sleep" {
  #checkov:skip=CKV_AWS_297: the schedules contain names of resources and no secret; EventBridge encrypts them with its own key
  for_each = local.sleep_steps

  name       = each.key
  group_name = aws_scheduler_schedule_group.sleep["sleep"].name

  schedule_expression = format("cron(%d %d ? * %s *)",
    (tonumber(split(":", each.value.at)[1]) + each.value.after) % 60,
    tonumber(split(":", each.value.at)[0]) + floor((tonumber(split(":", each.value.at)[1]) + each.value.after) / 60),
    var.sleep.days,
  )
  schedule_expression_timezone = var.sleep.timezone

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = "arn:${local.partition}:scheduler:::aws-sdk:${each.value.target}"
    role_arn = aws_iam_role.sleep["sleep"].arn
    input    = jsonencode(each.value.input)

    # By default, the scheduler tries for a day: it could put the environment to sleep in the morning.
    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 12
    }
  }
}

resource "aws_iam_role" "sleep" {
  for_each = local.sleeps

  name                 = local.sleep_name
  description          = "Puts the environment to sleep and wakes it up"
  permissions_boundary = local.boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "scheduler.amazonaws.com" }
      Condition = {
        StringEquals = {
          "aws:SourceAccount" = local.account
          "aws:SourceArn"     = "arn:${local.partition}:scheduler:${local.here}:schedule-group/${local.sleep_name}"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "sleep" {
  for_each = local.sleeps

  name = "sleep"
  role = aws_iam_role.sleep[each.key].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "Alarms"
          Effect   = "Allow"
          Action   = ["cloudwatch:DisableAlarmActions", "cloudwatch:EnableAlarmActions"]
          Resource = [for name in local.silenced_alarms : "arn:${local.partition}:cloudwatch:${local.here}:alarm:${name}"]
        },
        {
          Sid      = "SystemNodes"
          Effect   = "Allow"
          Action   = "eks:UpdateNodegroupConfig"
          Resource = "arn:${local.partition}:eks:${local.here}:nodegroup/${var.cluster_name}/${try(local.node_group.name, "")}/*"
        },
        {
          Sid      = "KarpenterNodes"
          Effect   = "Allow"
          Action   = "ssm:StartAutomationExecution"
          Resource = [for type in ["automation-definition", "document"] : "arn:${local.partition}:ssm:${var.region}::${type}/AWS-TerminateEC2Instance${type == "document" ? "" : ":*"}"]
        },
        {
          Sid       = "HandOverRole"
          Effect    = "Allow"
          Action    = "iam:PassRole"
          Resource  = aws_iam_role.terminate_nodes[each.key].arn
          Condition = { StringEquals = { "iam:PassedToService" = "ssm.amazonaws.com" } }
        },
      ],
      [for database in data.aws_db_instance.this : {
        Sid      = "Database"
        Effect   = "Allow"
        Action   = ["rds:StartDBInstance", "rds:StopDBInstance"]
        Resource = database.db_instance_arn
      }],
    )
  })
}

resource "aws_iam_role" "terminate_nodes" {
  for_each = local.sleeps

  name                 = local.terminate_role_name
  description          = "Terminates the nodes that Karpenter launched"
  permissions_boundary = local.boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ssm.amazonaws.com" }
      Condition = {
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:ssm:${local.here}:automation-execution/*" }
        StringEquals = { "aws:SourceAccount" = local.account }
      }
    }]
  })
}

resource "aws_iam_role_policy" "terminate_nodes" {
  #checkov:skip=CKV_AWS_355: descriptions have no resource-level permissions
  for_each = local.sleeps

  name = "terminate-nodes"
  role = aws_iam_role.terminate_nodes[each.key].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "KarpenterNodes"
        Effect    = "Allow"
        Action    = "ec2:TerminateInstances"
        Resource  = "arn:${local.partition}:ec2:${local.here}:instance/*"
        Condition = { StringEquals = { "ec2:ResourceTag/${local.karpenter_tag}" = var.cluster_name } }
      },
      {
        Sid      = "FindNodes"
        Effect   = "Allow"
        Action   = ["ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "tag:GetResources"]
        Resource = "*"
      },
    ]
  })
}
