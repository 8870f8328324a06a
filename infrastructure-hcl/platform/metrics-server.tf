resource "helm_release" "metrics_server" {
  for_each = toset(local.cluster.metrics_server_addon ? [] : ["metrics-server"])

  name       = each.key
  namespace  = "kube-system"
  repository = local.charts[each.key].repository
  chart      = local.charts[each.key].chart
  version    = local.charts[each.key].version

  values = [file("${path.module}/values/metrics-server.yaml")]

  atomic          = var.wait
  wait            = var.wait
  cleanup_on_fail = true
  timeout         = 300
  max_history     = 5
}
