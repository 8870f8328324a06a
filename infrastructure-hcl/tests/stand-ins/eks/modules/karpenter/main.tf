data "aws_partition" "current" {}

locals {
  policies = "arn:${data.aws_partition.current.partition}:iam::aws:policy"

  events = {
    health_event          = { source = "aws.health", type = "AWS Health Event" }
    spot_interruption     = { source = "aws.ec2", type = "EC2 Spot Instance Interruption Warning" }
    instance_rebalance    = { source = "aws.ec2", type = "EC2 Instance Rebalance Recommendation" }
    instance_state_change = { source = "aws.ec2", type = "EC2 Instance State-change Notification" }
  }
}

resource "aws_iam_role" "controller" {
  permissions_boundary = var.iam_role_permissions_boundary_arn
  name                 = var.iam_role_use_name_prefix ? null : var.iam_role_name
  name_prefix          = var.iam_role_use_name_prefix ? "${var.iam_role_name}-" : null
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { Service = "pods.eks.amazonaws.com" }
    }]
  })
}

# The emulator does not enforce policies. This one contains the minimum for the controller's queue and nodes.
data "aws_iam_policy_document" "controller" {
  statement {
    actions   = ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
    resources = [aws_sqs_queue.this.arn]
  }

  statement {
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.node.arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "controller" {
  for_each = toset(var.enable_inline_policy ? ["inline"] : [])

  role   = aws_iam_role.controller.name
  policy = data.aws_iam_policy_document.controller.json
}

resource "aws_eks_pod_identity_association" "this" {
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.controller.arn
}

resource "aws_iam_role" "node" {
  permissions_boundary = var.node_iam_role_permissions_boundary
  name                 = var.node_iam_role_use_name_prefix ? null : var.node_iam_role_name
  name_prefix          = var.node_iam_role_use_name_prefix ? "${var.node_iam_role_name}-" : null
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryReadOnly", "AmazonEKS_CNI_Policy"])

  role       = aws_iam_role.node.name
  policy_arn = "${local.policies}/${each.key}"
}

resource "aws_eks_access_entry" "node" {
  cluster_name  = var.cluster_name
  principal_arn = aws_iam_role.node.arn
  type          = "EC2_LINUX"
}

resource "aws_sqs_queue" "this" {
  name                      = var.queue_name
  message_retention_seconds = 300
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue_policy" "this" {
  queue_url = aws_sqs_queue.this.url
  policy    = data.aws_iam_policy_document.queue.json
}

data "aws_iam_policy_document" "queue" {
  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.this.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com", "sqs.amazonaws.com"]
    }
  }

  statement {
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [aws_sqs_queue.this.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each = local.events

  name_prefix   = "Karpenter-"
  event_pattern = jsonencode({ source = [each.value.source], "detail-type" = [each.value.type] })
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = local.events

  rule      = aws_cloudwatch_event_rule.this[each.key].name
  target_id = "KarpenterInterruptionQueueTarget"
  arn       = aws_sqs_queue.this.arn
}
