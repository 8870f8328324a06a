resource "helm_release" "cluster_baseline" {
  name        = "cluster-baseline"
  namespace   = "kube-system"
  chart       = local.own_charts.cluster-baseline
  description = local.own_chart_digests.cluster-baseline

  values = [yamlencode({
    deployGroup = local.cluster.deploy_group
    monitoring  = var.monitoring.enabled
  })]

  # A deployment of the service that came first has made the service's namespace.
  take_ownership  = true
  atomic          = var.wait
  wait            = var.wait
  cleanup_on_fail = true
  # Removing the namespace of the monitoring waits until its volume is gone.
  timeout     = 300
  max_history = 5
}
