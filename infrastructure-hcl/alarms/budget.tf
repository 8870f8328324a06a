# The monthly budget belongs to the bootstrap stack: it outlives the environment, and writes to its own addresses. It
# notices a runaway cost when the month is half spent or the forecast has caught up. This one notices it the day after.
resource "aws_budgets_budget" "daily" {
  for_each = { for amount in [var.daily_budget_usd] : "daily" => amount if amount != null }

  name         = "${var.cluster_name}-daily"
  budget_type  = "COST"
  time_unit    = "DAILY"
  limit_amount = format("%.1f", each.value)
  limit_unit   = "USD"

  notification {
    notification_type         = "ACTUAL"
    comparison_operator       = "GREATER_THAN"
    threshold                 = 100
    threshold_type            = "PERCENTAGE"
    subscriber_sns_topic_arns = [aws_sns_topic.alarms.arn]
  }

  # Budgets sends nothing to a topic that does not let it publish.
  depends_on = [aws_sns_topic_policy.alarms]
}
