output "grafana_command" {
  description = "Command that makes Grafana available at http://localhost:3001"
  value       = module.releases.grafana_command
}

output "grafana_password_command" {
  description = "Command that prints the password of the user admin in Grafana"
  value       = module.releases.grafana_password_command
}

output "prometheus_command" {
  description = "Command that makes Prometheus available at http://localhost:9090"
  value       = module.releases.prometheus_command
}

output "alertmanager_command" {
  description = "Command that makes Alertmanager available at http://localhost:9093"
  value       = module.releases.alertmanager_command
}
