# Tests what is watched, who may publish, and what the schedules may do. No run contacts AWS: overrides provide what only
# AWS and the other stacks know.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_db_instance" {
    defaults = {
      allocated_storage = 20
      db_instance_arn   = "arn:aws:rds:eu-central-1:123456789012:db:checked-database"
    }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }

  mock_data "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/66666666-7777-8888-9999-000000000000" }
  }

  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:checked-alarms" }
  }

  mock_resource "aws_cloudwatch_metric_alarm" {
    defaults = { arn = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:mocked" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
  }
}

override_data {
  target = data.terraform_remote_state.stack["cluster"]
  values = { outputs = { system_node_group = { name = "system-1", min_size = 0, desired_size = 2 } } }
}

override_data {
  target = data.terraform_remote_state.stack["data"]
  values = {
    outputs = {
      database = { host = "checked-database.abcdefghijkl.eu-central-1.rds.amazonaws.com" }
      cache    = { replication_group_id = "checked-cache" }
    }
  }
}

override_data {
  target = data.terraform_remote_state.stack["network"]
  values = { outputs = { vpc_id = "vpc-0123456789abcdef0" } }
}

override_data {
  target = data.aws_nat_gateways.this["vpc-0123456789abcdef0"]
  values = { ids = ["nat-0123456789abcdef0", "nat-0123456789abcdef1"] }
}

override_data {
  target = data.aws_instances.nat["vpc-0123456789abcdef0"]
  values = { ids = ["i-0123456789abcdef0"] }
}

variables {
  environment  = "test"
  region       = "eu-central-1"
  cluster_name = "checked"
}

run "without_other_stacks_only_load_balancers_are_watched" {
  command = plan

  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.this)) == toset(["latency", "load-balancer-errors", "no-healthy-target", "service-errors", "unhealthy-targets"])
    error_message = "A stack that is not applied must have no alarms, and load balancers need no stack."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alltrue([for query in alarm.metric_query : startswith(query.expression, "SELECT ")])])
    error_message = "Load balancers must be found by a query, because their identifiers are known only after a deploy."
  }

  assert {
    condition     = length(aws_scheduler_schedule.sleep) + length(aws_iam_role.sleep) + length(aws_budgets_budget.daily) == 0
    error_message = "Options must be off by default."
  }
}

run "the_resources_of_each_applied_stack_are_watched" {
  command = plan

  variables {
    states = { for stack in ["cluster", "data", "network", "platform"] : stack => { backend = "local", config = { path = "${stack}.tfstate" } } }
  }

  assert {
    condition = toset(setsubtract(keys(aws_cloudwatch_metric_alarm.this), keys(local.load_balancer_alarms))) == toset([
      "database-cpu", "database-storage", "database-connections", "cache-evictions", "cache-replica-lag",
      "nat-ports/nat-0123456789abcdef0", "nat-ports/nat-0123456789abcdef1", "nat-instance/i-0123456789abcdef0",
    ])
    error_message = "The database, the cache and each NAT gateway and instance must have their alarms."
  }

  assert {
    condition = alltrue([for name, id in {
      "database-cpu"                    = { DBInstanceIdentifier = "checked-database" }
      "nat-ports/nat-0123456789abcdef1" = { NatGatewayId = "nat-0123456789abcdef1" }
    } : one(one(aws_cloudwatch_metric_alarm.this[name].metric_query).metric).dimensions == tomap(id)])
    error_message = "Each alarm must watch its own resource."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["database-storage"].threshold == 4 * pow(1024, 3) && aws_cloudwatch_metric_alarm.this["database-storage"].comparison_operator == "LessThanThreshold"
    error_message = "The alarm on storage must fire below 20 % of what is allocated."
  }
}

run "every_alarm_notifies_explains_itself_and_survives_silence" {
  command = plan

  variables {
    states = { for stack in ["cluster", "data", "network"] : stack => { backend = "local", config = { path = "${stack}.tfstate" } } }
    sleep  = { from = "20:00", until = "07:00", timezone = "Europe/Berlin" }
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.this :
      alarm.alarm_actions == toset([aws_sns_topic.alarms.arn]) && alarm.ok_actions == toset([aws_sns_topic.alarms.arn])
    ])
    error_message = "Every alarm must notify when it begins and when it ends."
  }

  assert {
    condition = alltrue([for name, alarm in aws_cloudwatch_metric_alarm.this :
      endswith(alarm.alarm_description, "/docs/alarms.md#${split("/", name)[0]}") && length(alarm.alarm_description) <= 1024
    ])
    error_message = "Every alarm must link to its section, in at most 1,024 characters."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.treat_missing_data == "notBreaching"])
    error_message = "A database that sleeps and a service without requests have no metrics, which is no fault."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : startswith(alarm.alarm_name, "checked-")])
    error_message = "The topic and CI's role admit only alarms whose names begin with the cluster's."
  }

  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets) == length(aws_cloudwatch_metric_alarm.this) + 3
    error_message = "The dashboard must show the states, a graph of each alarm, the percentiles and the requests."
  }
}

run "only_cloudwatch_and_budgets_of_this_account_publish" {
  command = plan

  assert {
    condition = {
      for statement in jsondecode(aws_sns_topic_policy.alarms.policy).Statement :
      statement.Principal.Service => statement.Condition if statement.Effect == "Allow"
      } == {
      "cloudwatch.amazonaws.com" = {
        ArnLike      = { "aws:SourceArn" = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:checked-*" }
        StringEquals = { "aws:SourceAccount" = "123456789012" }
      }
      "budgets.amazonaws.com" = {
        ArnLike      = { "aws:SourceArn" = "arn:aws:budgets::123456789012:*" }
        StringEquals = { "aws:SourceAccount" = "123456789012" }
      }
    }
    error_message = "Only alarms of this environment and budgets of this account may publish."
  }

  assert {
    condition = anytrue([for statement in jsondecode(aws_sns_topic_policy.alarms.policy).Statement :
      statement.Effect == "Deny" && statement.Action == "sns:Publish" && try(statement.Condition.Bool["aws:PrincipalIsAWSService"], "") == "false"
    ])
    error_message = "A principal of the account whose own policy allows it must not publish either."
  }

  assert {
    condition     = aws_sns_topic.alarms.kms_master_key_id == aws_kms_key.topic["own"].arn && aws_kms_key.topic["own"].enable_key_rotation
    error_message = "The topic must be encrypted with a key that rotates."
  }

  assert {
    condition = toset(flatten([for statement in jsondecode(aws_kms_key.topic["own"].policy).Statement : statement.Principal.Service if can(statement.Principal.Service)])) == toset([
      "budgets.amazonaws.com", "cloudwatch.amazonaws.com",
    ])
    error_message = "Both services must be able to use the key, or their notifications are lost."
  }
}

run "the_key_can_be_bootstraps" {
  command = plan

  variables {
    topic_key = "alias/some-key"
  }

  assert {
    condition     = aws_sns_topic.alarms.kms_master_key_id == "arn:aws:kms:eu-central-1:123456789012:key/66666666-7777-8888-9999-000000000000" && length(aws_kms_key.topic) == 0
    error_message = "CI cannot create keys, so the stack must use the one that exists."
  }
}

run "subscribers_get_the_notifications" {
  command = plan

  variables {
    emails      = ["somebody@example.com"]
    webhook_url = "https://hooks.example.com/abc"
  }

  assert {
    condition     = aws_sns_topic_subscription.email["somebody@example.com"].protocol == "email" && aws_sns_topic_subscription.webhook["webhook"].protocol == "https"
    error_message = "Each address and the webhook must be subscribed."
  }
}

run "an_expensive_day_is_reported_to_the_topic" {
  command = plan

  variables {
    daily_budget_usd = 12.5
  }

  assert {
    condition = (
      aws_budgets_budget.daily["daily"].limit_amount == "12.5" && aws_budgets_budget.daily["daily"].time_unit == "DAILY" &&
      alltrue([for notification in aws_budgets_budget.daily["daily"].notification : notification.subscriber_sns_topic_arns == toset([aws_sns_topic.alarms.arn])])
    )
    error_message = "The budget must notify the topic."
  }
}

run "the_environment_sleeps_in_order" {
  command = plan

  variables {
    states = { for stack in ["cluster", "data"] : stack => { backend = "local", config = { path = "${stack}.tfstate" } } }
    sleep  = { from = "19:45", until = "07:00", timezone = "Europe/Berlin" }
  }

  assert {
    condition = { for name, schedule in aws_scheduler_schedule.sleep : name => schedule.schedule_expression } == {
      alarms-off          = "cron(45 19 ? * MON-FRI *)"
      system-nodes-off    = "cron(45 19 ? * MON-FRI *)"
      karpenter-nodes-off = "cron(15 20 ? * MON-FRI *)"
      database-off        = "cron(15 20 ? * MON-FRI *)"
      database-on         = "cron(0 7 ? * MON-FRI *)"
      system-nodes-on     = "cron(10 7 ? * MON-FRI *)"
      alarms-on           = "cron(40 7 ? * MON-FRI *)"
    }
    error_message = "Karpenter's nodes must be terminated after Karpenter, and the database must start before the pods."
  }

  assert {
    condition     = alltrue([for schedule in aws_scheduler_schedule.sleep : schedule.target[0].retry_policy[0].maximum_event_age_in_seconds <= 3600])
    error_message = "A late attempt must not put the environment to sleep in the morning."
  }

  assert {
    condition     = jsondecode(aws_scheduler_schedule.sleep["system-nodes-on"].target[0].input).ScalingConfig.DesiredSize == 2
    error_message = "The node group must get its size back."
  }

  assert {
    condition     = jsondecode(aws_scheduler_schedule.sleep["karpenter-nodes-off"].target[0].input).Targets[0] == { Key = "tag:eks:eks-cluster-name", Values = ["checked"] }
    error_message = "Only nodes that Karpenter launched for this cluster must be terminated."
  }

  assert {
    condition     = contains(keys(aws_cloudwatch_metric_alarm.this), "sleep-failed")
    error_message = "A failed step must be reported."
  }
}

run "the_schedules_can_only_do_what_they_do" {
  command = plan

  variables {
    states               = { for stack in ["cluster", "data"] : stack => { backend = "local", config = { path = "${stack}.tfstate" } } }
    sleep                = { from = "20:00", until = "07:00", timezone = "Europe/Berlin" }
    permissions_boundary = "some-boundary"
  }

  assert {
    condition = alltrue(flatten([for policy in [aws_iam_role_policy.sleep["sleep"].policy, aws_iam_role_policy.terminate_nodes["sleep"].policy] : [
      for statement in jsondecode(policy).Statement : alltrue([for resource in flatten([statement.Resource]) : resource != "*"]) || statement.Sid == "FindNodes"
    ]]))
    error_message = "Except for descriptions, every permission must name its resources."
  }

  assert {
    condition = one([for statement in jsondecode(aws_iam_role_policy.terminate_nodes["sleep"].policy).Statement : statement.Condition
    if statement.Action == "ec2:TerminateInstances"]).StringEquals["ec2:ResourceTag/eks:eks-cluster-name"] == "checked"
    error_message = "No other instance may be terminated."
  }

  assert {
    condition     = alltrue([for role in [aws_iam_role.sleep["sleep"], aws_iam_role.terminate_nodes["sleep"]] : role.permissions_boundary == "arn:aws:iam::123456789012:policy/some-boundary"])
    error_message = "The roles must carry the boundary of their account."
  }

  assert {
    condition     = alltrue([for role in [aws_iam_role.sleep["sleep"], aws_iam_role.terminate_nodes["sleep"]] : jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"])
    error_message = "The services may assume the roles only for this account."
  }
}

run "nodes_that_may_not_go_away_do_not_sleep" {
  command = plan

  variables {
    states = { cluster = { backend = "local", config = { path = "cluster.tfstate" } } }
    sleep  = { from = "20:00", until = "07:00", timezone = "Europe/Berlin" }
  }

  override_data {
    target = data.terraform_remote_state.stack["cluster"]
    values = { outputs = { system_node_group = { name = "system-1", min_size = 2, desired_size = 2 } } }
  }

  expect_failures = [aws_scheduler_schedule_group.sleep]
}

run "without_a_cluster_nothing_sleeps" {
  command = plan

  variables {
    sleep = { from = "20:00", until = "07:00", timezone = "Europe/Berlin" }
  }

  expect_failures = [aws_scheduler_schedule_group.sleep]
}
