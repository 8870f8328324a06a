resource "helm_release" "cluster_baseline" {
  name        = "cluster-baseline"
  namespace   = "kube-system"
  chart       = local.own_charts.cluster-baseline
  description = local.own_chart_digests.cluster-baseline

  values = [yamlencode({
    deployGroup = local.cluster.deploy_group
    monitoring  = var.monitoring.enabled
  })]

  # If the service was deployed first, its namespace already exists.
  take_ownership  = true
  atomic          = var.wait
  wait            = var.wait
  cleanup_on_fail = true
  # Deleting the monitoring namespace waits until its volume is deleted.
  timeout     = 300
  max_history = 5
}
