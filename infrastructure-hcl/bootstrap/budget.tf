resource "aws_budgets_budget" "monthly" {
  name         = "${local.name}-monthly"
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = format("%.1f", var.monthly_budget_usd)
  limit_unit   = "USD"

  dynamic "notification" {
    # The forecast leaves time to act. The actual cost confirms that the budget is spent.
    for_each = { FORECASTED = 80, ACTUAL = 100 }

    content {
      notification_type          = notification.key
      comparison_operator        = "GREATER_THAN"
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = var.budget_emails
    }
  }
}
