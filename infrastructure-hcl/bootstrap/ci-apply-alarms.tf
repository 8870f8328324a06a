# What an apply of the alarms stack changes. Like the other policies of apply, it names everything by the cluster's name.

data "aws_iam_policy_document" "apply_alarms" {
  #checkov:skip=CKV_AWS_111: subscriptions have no resource-level permissions
  #checkov:skip=CKV_AWS_356: subscriptions have no resource-level permissions
  statement {
    sid = "Alarms"
    actions = [
      "cloudwatch:DeleteAlarms",
      "cloudwatch:PutMetricAlarm",
      "cloudwatch:TagResource",
      "cloudwatch:UntagResource",
    ]
    resources = ["arn:${local.partition}:cloudwatch:${local.here}:alarm:${var.cluster_name}-*"]
  }

  statement {
    sid       = "Dashboard"
    actions   = ["cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard"]
    resources = ["arn:${local.partition}:cloudwatch:${local.global}:dashboard/${var.cluster_name}-*"]
  }

  statement {
    sid = "Topic"
    actions = [
      "sns:CreateTopic",
      "sns:DeleteTopic",
      "sns:SetTopicAttributes",
      "sns:Subscribe",
      "sns:TagResource",
      "sns:UntagResource",
    ]
    resources = ["arn:${local.partition}:sns:${local.here}:${var.cluster_name}-*"]
  }

  statement {
    sid       = "Subscriptions"
    actions   = ["sns:SetSubscriptionAttributes", "sns:Unsubscribe"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  statement {
    sid       = "Budget"
    actions   = ["budgets:ModifyBudget", "budgets:TagResource", "budgets:UntagResource"]
    resources = ["arn:${local.partition}:budgets:${local.global}:budget/${var.cluster_name}-*"]
  }

  statement {
    sid = "Schedules"
    actions = [
      "scheduler:CreateSchedule",
      "scheduler:CreateScheduleGroup",
      "scheduler:DeleteSchedule",
      "scheduler:DeleteScheduleGroup",
      "scheduler:TagResource",
      "scheduler:UntagResource",
      "scheduler:UpdateSchedule",
    ]
    resources = [for resource in ["schedule-group/${var.cluster_name}-*", "schedule/${var.cluster_name}-*/*"] :
    "arn:${local.partition}:scheduler:${local.here}:${resource}"]
  }

  statement {
    sid       = "HandOverRole"
    actions   = ["iam:PassRole"]
    resources = ["arn:${local.partition}:iam:${local.global}:role/${var.cluster_name}-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["scheduler.amazonaws.com"]
    }
  }
}
