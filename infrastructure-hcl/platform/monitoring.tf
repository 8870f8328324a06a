# The published chart of the operator's definitions. All of them are templates, so Helm upgrades them.
resource "helm_release" "prometheus_operator_crds" {
  for_each = toset(var.monitoring.enabled ? ["prometheus-operator-crds"] : [])

  name       = each.key
  namespace  = "kube-system"
  repository = local.charts[each.key].repository
  chart      = local.charts[each.key].chart
  version    = local.charts[each.key].version

  # Adopt definitions that are already installed, and upgrade them from now on.
  take_ownership  = true
  atomic          = var.wait
  wait            = var.wait
  cleanup_on_fail = true
  timeout         = 120
  max_history     = 5
}

resource "helm_release" "kube_prometheus_stack" {
  for_each = toset(var.monitoring.enabled ? ["kube-prometheus-stack"] : [])

  name       = each.key
  namespace  = "monitoring"
  repository = local.charts[each.key].repository
  chart      = local.charts[each.key].chart
  version    = local.charts[each.key].version

  values = [templatefile("${path.module}/values/kube-prometheus-stack.yaml", {
    retention_days = var.monitoring.retention_days
    volume_gib     = var.monitoring.volume_gib
  })]

  skip_crds       = true
  atomic          = var.wait
  wait            = var.wait
  cleanup_on_fail = true
  # Includes the launch of a node.
  timeout     = 600
  max_history = 5

  depends_on = [
    helm_release.cluster_baseline,
    helm_release.karpenter_nodes,
    helm_release.prometheus_operator_crds,
  ]
}
