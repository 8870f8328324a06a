output "topic_arn" {
  description = "Topic of all notifications"
  value       = aws_sns_topic.alarms.arn
}

output "alarm_names" {
  description = "Names of all alarms"
  value       = sort(values(local.alarm_names))
}

output "dashboard_url" {
  description = "Address of the dashboard in the AWS console"
  value       = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.this.dashboard_name}"
}
