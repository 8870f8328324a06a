# Where all notifications go.

locals {
  topic_name = "${var.cluster_name}-alarms"
  topic_arn  = "arn:${local.partition}:sns:${local.here}:${local.topic_name}"

  # CloudWatch and Budgets, and only for alarms and budgets of this account.
  publishers = {
    cloudwatch = "arn:${local.partition}:cloudwatch:${local.here}:alarm:${var.cluster_name}-*"
    budgets    = "arn:${local.partition}:budgets::${local.account}:*"
  }
}

data "aws_kms_key" "topic" {
  for_each = toset(var.topic_key == null ? [] : [var.topic_key])

  key_id = each.key
}

# SNS's own key does not let CloudWatch publish, so the topic needs a key with this policy. In an account where CI applies
# the stacks, the bootstrap stack has created it.
resource "aws_kms_key" "topic" {
  for_each = toset(var.topic_key == null ? ["own"] : [])

  description             = "Notifications of ${local.topic_name}"
  enable_key_rotation     = true
  deletion_window_in_days = 7

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "Administer"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      }],
      [for service in keys(local.publishers) : {
        Sid       = "Publish${title(service)}"
        Effect    = "Allow"
        Principal = { Service = "${service}.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      }],
    )
  })
}

resource "aws_sns_topic" "alarms" {
  name              = local.topic_name
  kms_master_key_id = one(concat(values(data.aws_kms_key.topic)[*].arn, values(aws_kms_key.topic)[*].arn))
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [for service, source in local.publishers : {
        Sid       = "Publish${title(service)}"
        Effect    = "Allow"
        Principal = { Service = "${service}.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = local.topic_arn
        Condition = {
          ArnLike      = { "aws:SourceArn" = source }
          StringEquals = { "aws:SourceAccount" = local.account }
        }
      }],
      [
        # Otherwise, everyone in the account whose own policy allows it could send false alarms.
        {
          Sid       = "NoOneElsePublishes"
          Effect    = "Deny"
          Principal = "*"
          Action    = "sns:Publish"
          Resource  = local.topic_arn
          Condition = { Bool = { "aws:PrincipalIsAWSService" = "false" } }
        },
        {
          Sid       = "OnlyWithTLS"
          Effect    = "Deny"
          Principal = "*"
          Action    = "sns:Publish"
          Resource  = local.topic_arn
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
      ],
    )
  })
}

resource "aws_sns_topic_subscription" "email" {
  for_each = var.emails

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_sns_topic_subscription" "webhook" {
  # The URL is sensitive, its existence is not.
  for_each = toset(nonsensitive(var.webhook_url != null) ? ["webhook"] : [])

  topic_arn              = aws_sns_topic.alarms.arn
  protocol               = "https"
  endpoint               = var.webhook_url
  endpoint_auto_confirms = true
}
