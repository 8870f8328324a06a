mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_region" {
    defaults = { id = "eu-central-1" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_resource "aws_wafv2_web_acl" {
    defaults = { arn = "arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/test/01234567-89ab-cdef-0123-456789abcdef" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:aws-waf-logs-test" }
  }
}

variables {
  name               = "test"
  scope              = "REGIONAL"
  rate_limit         = 100
  log_retention_days = 7
}

run "blocks_known_attacks_and_floods" {
  command = plan

  assert {
    condition = toset(flatten([
      for rule in aws_wafv2_web_acl.this.rule : [
        for statement in rule.statement : [for group in statement.managed_rule_group_statement : "${group.vendor_name}/${group.name}"]
      ]
      ])) == toset([
      "AWS/AWSManagedRulesAmazonIpReputationList", "AWS/AWSManagedRulesCommonRuleSet", "AWS/AWSManagedRulesKnownBadInputsRuleSet",
    ])
    error_message = "The web ACL must contain AWS's rule groups."
  }

  assert {
    condition     = alltrue([for rule in aws_wafv2_web_acl.this.rule : length(rule.override_action[0].none) == 1 if rule.name != "rate-limit"])
    error_message = "The rule groups must block, not count."
  }

  assert {
    condition = [
      for rule in aws_wafv2_web_acl.this.rule : rule.statement[0].rate_based_statement[0].limit if rule.name == "rate-limit"
    ] == [100]
    error_message = "The rate of each address must be limited."
  }
}

run "logs_only_blocked_requests_and_no_credentials" {
  command = plan

  assert {
    condition = (
      aws_wafv2_web_acl_logging_configuration.this.logging_filter[0].default_behavior == "DROP" &&
      one(flatten([for filter in aws_wafv2_web_acl_logging_configuration.this.logging_filter[0].filter : [for condition in filter.condition : condition.action_condition[0].action]])) == "BLOCK"
    )
    error_message = "Only blocked requests may be logged."
  }

  assert {
    condition = toset([
      for field in aws_wafv2_web_acl_logging_configuration.this.redacted_fields : field.single_header[0].name
    ]) == toset(["authorization", "cookie"])
    error_message = "The log must not contain credentials of clients."
  }

  assert {
    condition     = startswith(aws_cloudwatch_log_group.this.name, "aws-waf-logs-") && aws_cloudwatch_log_group.this.retention_in_days == 7
    error_message = "WAF requires the prefix, and the log must expire."
  }
}

run "only_wafs_log_delivery_of_this_account_may_write" {
  command = plan

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_cloudwatch_log_resource_policy.this.policy_document).Statement :
      statement.Principal.Service == "delivery.logs.amazonaws.com" && statement.Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    ])
    error_message = "The log group must accept only WAF's log delivery of this account."
  }
}
