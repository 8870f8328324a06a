output "stages" {
  description = "Names of the stages, in the order of installation"
  value       = local.stages
}

output "releases" {
  description = "All releases by name: the arguments of helm_release, preceded by what only the caller needs"
  value = {
    for name, release in local.complete : name => {
      stage           = release.stage
      definitions_of  = release.definitions_of
      install_timeout = coalesce(release.install_timeout, release.timeout)

      name        = name
      namespace   = release.namespace
      repository  = release.chart.repository
      chart       = release.chart.chart
      version     = release.chart.version
      description = release.chart.description
      values      = compact([release.values])

      skip_crds       = release.skip_crds
      take_ownership  = release.take_ownership
      atomic          = var.wait
      wait            = var.wait
      cleanup_on_fail = true
      timeout         = release.timeout
      max_history     = 5
    } if release.enabled
  }
}

output "grafana_command" {
  description = "Command that makes Grafana available at http://localhost:3001"
  value       = var.monitoring.enabled ? "kubectl --namespace monitoring port-forward service/kube-prometheus-stack-grafana 3001:80" : null
}

output "grafana_password_command" {
  description = "Command that prints the password of the user admin in Grafana"
  value       = var.monitoring.enabled ? "kubectl --namespace monitoring get secret ${coalesce(var.monitoring.grafana_secret, "kube-prometheus-stack-grafana")} --output jsonpath='{.data.admin-password}' | base64 --decode" : null
}

output "prometheus_command" {
  description = "Command that makes Prometheus available at http://localhost:9090"
  value       = var.monitoring.enabled ? "kubectl --namespace monitoring port-forward service/kube-prometheus-stack-prometheus 9090" : null
}

output "alertmanager_command" {
  description = "Command that makes Alertmanager available at http://localhost:9093"
  value       = var.monitoring.enabled ? "kubectl --namespace monitoring port-forward service/kube-prometheus-stack-alertmanager 9093" : null
}
