output "queue_name" {
  description = "Name of the interruption queue"
  value       = aws_sqs_queue.this.name
}

output "node_iam_role_name" {
  description = "Name of the nodes' role"
  value       = aws_iam_role.node.name
}
