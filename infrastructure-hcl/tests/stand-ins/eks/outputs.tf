output "cluster_name" {
  description = "Name of the cluster"
  value       = aws_eks_cluster.this[0].name

  # The cluster is usable only after its access entries and nodes exist.
  depends_on = [aws_eks_access_entry.this, aws_eks_access_policy_association.this]
}

output "cluster_endpoint" {
  description = "URL of the Kubernetes API"
  value       = aws_eks_cluster.this[0].endpoint
}

output "cluster_certificate_authority_data" {
  description = "Certificate authority of the Kubernetes API, in base64"
  value       = aws_eks_cluster.this[0].certificate_authority[0].data
}

output "node_security_group_id" {
  description = "Security group of the nodes"
  value       = aws_security_group.node.id
}

output "oidc_provider_arn" {
  description = "OIDC provider of the service accounts"
  value       = aws_iam_openid_connect_provider.this.arn
}
