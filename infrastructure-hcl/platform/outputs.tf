output "grafana_command" {
  description = "Command that makes Grafana available at http://localhost:3001"
  value       = var.monitoring.enabled ? "kubectl --namespace monitoring port-forward service/kube-prometheus-stack-grafana 3001:80" : null
}
