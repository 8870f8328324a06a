output "region" {
  description = "Region of the cluster"
  value       = var.region
}

output "cluster_name" {
  description = "Name of the cluster"
  value       = module.eks.cluster_name
}

output "cluster_endpoint" {
  description = "URL of the Kubernetes API"
  value       = module.eks.cluster_endpoint
}

output "cluster_certificate_authority_data" {
  description = "Certificate authority of the Kubernetes API, in base64"
  value       = module.eks.cluster_certificate_authority_data
}

output "vpc_id" {
  description = "VPC of the cluster, for the load balancer controller"
  value       = data.aws_vpc.this.id
}

output "node_subnet_ids" {
  description = "Subnets of the nodes that Karpenter launches"
  value       = sort(local.network.private_subnet_ids)
}

output "node_security_group_id" {
  description = "Security group of all nodes, and so of their pods"
  value       = module.eks.node_security_group_id
}

output "database_subnet_ids" {
  description = "Ids of the network stack's subnets for databases; null with an existing network"
  value       = var.network == "stack" ? local.stack.database_subnet_ids : null
}

output "control_plane_log_group" {
  description = "Log group of the control plane, which EKS can recreate after the cluster has been deleted"
  value       = local.control_plane_log_group
}

output "karpenter_queue_name" {
  description = "Name of Karpenter's interruption queue"
  value       = module.karpenter.queue_name
}

output "karpenter_node_role_name" {
  description = "Name of the IAM role of the nodes that Karpenter launches"
  value       = module.karpenter.node_iam_role_name
}

output "load_balancer_controller_role_arn" {
  description = "ARN of the IAM role of the load balancer controller's service account"
  value       = module.load_balancer_controller_role.arn
}

output "metrics_server_addon" {
  description = "Whether metrics-server is installed as an EKS add-on"
  value       = var.metrics_server_addon
}

output "deploy_group" {
  description = "Kubernetes group of the principals that deploy the service"
  value       = local.deploy_group
}

output "pod_log_group" {
  description = "Log group of the pods' logs; null if there is none"
  value       = one(values(aws_cloudwatch_log_group.pods)[*].name)
}

output "trace_role" {
  description = "Whether the collector of traces has a role for X-Ray"
  value       = var.cloudwatch.traces
}

output "ecr_repository_url" {
  description = "URL of the service's image repository"
  value       = aws_ecr_repository.service.repository_url
}

output "kubeconfig_command" {
  description = "Command that adds the cluster to your kubeconfig"
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${module.eks.cluster_name}"
}

output "system_node_group" {
  description = "Name and sizes of the managed node group, for the schedule that puts it to sleep"
  value = {
    name         = split(":", module.eks.eks_managed_node_groups["system"].node_group_id)[1]
    min_size     = var.system_nodes.min_size
    desired_size = var.system_nodes.desired_size
  }
}
