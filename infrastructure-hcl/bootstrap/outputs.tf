output "state_bucket" {
  description = "The bucket that this stack's own state moves to"
  value       = aws_s3_bucket.state.bucket
}

output "role_arns" {
  description = "The roles by what they are for, for GitHub's variables and the cluster's access entries"
  value       = { for name, role in aws_iam_role.ci : name => role.arn }
}

output "permissions_boundary_arn" {
  description = "The boundary without which CI cannot create a role, for the cluster stack"
  value       = aws_iam_policy.boundary.arn
}

output "secrets_key" {
  description = "Alias of the key that encrypts Kubernetes' Secrets, for the cluster stack"
  value       = aws_kms_alias.secrets.name
}
