# What the pods need to write their logs to CloudWatch and their traces to X-Ray, and Grafana to read the logs. Loki and
# Tempo need nothing of AWS.

locals {
  pod_log_group = "/aws/eks/${var.cluster_name}/pods"

  pod_log_group_arn = join(":", [
    "arn", data.aws_partition.current.partition, "logs", var.region, data.aws_caller_identity.current.account_id, "log-group", local.pod_log_group,
  ])

  # By service account in the namespace monitoring.
  telemetry_roles = merge(
    var.cloudwatch.logs ? {
      fluent-bit = {
        service_account = "fluent-bit"
        statements = [
          # A stream for each container. Terraform creates the group.
          { Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["${local.pod_log_group_arn}:*"] },
        ]
      }
      grafana = {
        service_account = "kube-prometheus-stack-grafana"
        statements = [
          {
            Action   = ["logs:FilterLogEvents", "logs:GetLogEvents", "logs:GetLogGroupFields", "logs:StartQuery"]
            Resource = [local.pod_log_group_arn, "${local.pod_log_group_arn}:*"]
          },
          # These actions have no resources.
          { Action = ["logs:DescribeLogGroups", "logs:GetQueryResults", "logs:StopQuery"], Resource = ["*"] },
        ]
      }
    } : {},
    var.cloudwatch.traces ? {
      opentelemetry-collector = {
        service_account = "opentelemetry-collector"
        statements = [
          # X-Ray has no resources for traces.
          { Action = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], Resource = ["*"] },
        ]
      }
    } : {},
  )
}

resource "aws_cloudwatch_log_group" "pods" {
  #checkov:skip=CKV_AWS_158: CloudWatch Logs encrypts every group; a key of our own would cost more than the logs
  #checkov:skip=CKV_AWS_338: the retention is the environment's choice
  for_each = toset(var.cloudwatch.logs ? [local.pod_log_group] : [])

  name              = each.key
  retention_in_days = var.cloudwatch.log_retention_days
}

resource "aws_iam_role" "telemetry" {
  for_each = local.telemetry_roles

  name                 = "${var.cluster_name}-${each.key}"
  permissions_boundary = local.permissions_boundary

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { Service = "pods.eks.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "telemetry" {
  for_each = local.telemetry_roles

  name = each.key
  role = aws_iam_role.telemetry[each.key].id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [for statement in each.value.statements : merge({ Effect = "Allow" }, statement)]
  })
}

resource "aws_eks_pod_identity_association" "telemetry" {
  for_each = local.telemetry_roles

  cluster_name    = module.eks.cluster_name
  namespace       = "monitoring"
  service_account = each.value.service_account
  role_arn        = aws_iam_role.telemetry[each.key].arn
}
