output "grafana_command" {
  description = "Ready to run: makes Grafana reachable at http://localhost:3001"
  value       = var.monitoring.enabled ? "kubectl --namespace monitoring port-forward service/kube-prometheus-stack-grafana 3001:80" : null
}
