data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

data "aws_partition" "current" {}

locals {
  # Rule groups of AWS, in the order of evaluation. Each counts as one rule in the price.
  managed_groups = {
    # Addresses that AWS has seen in attacks. First, because it is the cheapest to evaluate.
    AWSManagedRulesAmazonIpReputationList = 1
    # Exploits of known vulnerabilities, such as Log4j's.
    AWSManagedRulesKnownBadInputsRuleSet = 2
    # Common attacks (OWASP). It also blocks bodies of more than 8 KB, which the service has no use for.
    AWSManagedRulesCommonRuleSet = 3
  }
}

resource "aws_wafv2_web_acl" "this" {
  #checkov:skip=CKV_AWS_192: AWSManagedRulesKnownBadInputsRuleSet is among the groups; Checkov does not read dynamic blocks
  name  = var.name
  scope = var.scope

  default_action {
    allow {}
  }

  # First, so that a flood is not evaluated further.
  rule {
    name     = "rate-limit"
    priority = 0

    action {
      block {
        custom_response {
          # The service responds with the same status to clients that send too much.
          response_code = 429
        }
      }
    }

    statement {
      rate_based_statement {
        limit                 = var.rate_limit
        evaluation_window_sec = 300
        aggregate_key_type    = "IP"
      }
    }

    visibility_config {
      metric_name                = "rate-limit"
      cloudwatch_metrics_enabled = true
      sampled_requests_enabled   = true
    }
  }

  dynamic "rule" {
    for_each = local.managed_groups

    content {
      name     = rule.key
      priority = rule.value

      override_action {
        none {}
      }

      statement {
        managed_rule_group_statement {
          vendor_name = "AWS"
          name        = rule.key
        }
      }

      visibility_config {
        metric_name                = rule.key
        cloudwatch_metrics_enabled = true
        sampled_requests_enabled   = true
      }
    }
  }

  visibility_config {
    metric_name                = var.name
    cloudwatch_metrics_enabled = true
    sampled_requests_enabled   = true
  }
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_158: CloudWatch encrypts all log groups; a key of our own would cost more than the logs
  #checkov:skip=CKV_AWS_338: the environment chooses the retention

  # WAF requires this prefix.
  name              = "aws-waf-logs-${var.name}"
  retention_in_days = var.log_retention_days
}

# Otherwise WAF creates a policy of its own, which would remain after a destroy.
resource "aws_cloudwatch_log_resource_policy" "this" {
  policy_name = "aws-waf-logs-${var.name}"
  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Principal = { Service = "delivery.logs.amazonaws.com" }
      Resource  = "${aws_cloudwatch_log_group.this.arn}:*"
      Condition = {
        StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id }
        ArnLike = {
          "aws:SourceArn" = join(":", [
            "arn", data.aws_partition.current.partition, "logs", data.aws_region.current.id,
            data.aws_caller_identity.current.account_id, "*",
          ])
        }
      }
    }]
  })
}

resource "aws_wafv2_web_acl_logging_configuration" "this" {
  resource_arn            = aws_wafv2_web_acl.this.arn
  log_destination_configs = [aws_cloudwatch_log_group.this.arn]

  # The service logs the allowed requests itself.
  logging_filter {
    default_behavior = "DROP"

    filter {
      behavior    = "KEEP"
      requirement = "MEETS_ANY"

      condition {
        action_condition {
          action = "BLOCK"
        }
      }
    }
  }

  dynamic "redacted_fields" {
    for_each = toset(["authorization", "cookie"])

    content {
      single_header {
        name = redacted_fields.value
      }
    }
  }

  depends_on = [aws_cloudwatch_log_resource_policy.this]
}
