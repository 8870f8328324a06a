output "state_bucket" {
  description = "Bucket of the Terraform states, including this stack's own"
  value       = aws_s3_bucket.state.bucket
}

output "role_arns" {
  description = "ARNs of CI's roles, by purpose, for GitHub's variables and the cluster's access entries"
  value       = { for name, role in aws_iam_role.ci : name => role.arn }
}

output "permissions_boundary_arn" {
  description = "Permissions boundary that CI must set on every role that it creates, for the cluster stack"
  value       = aws_iam_policy.boundary.arn
}

output "secrets_key" {
  description = "Alias of the KMS key that encrypts Kubernetes Secrets, for the cluster stack"
  value       = aws_kms_alias.secrets.name
}
