# Karpenter's chart also contains the definitions, but Helm never upgrades those in a chart's crds directory.
resource "helm_release" "karpenter_crd" {
  name       = "karpenter-crd"
  namespace  = "kube-system"
  repository = local.charts.karpenter-crd.repository
  chart      = local.charts.karpenter-crd.chart
  version    = local.charts.karpenter-crd.version

  # Adopt definitions that are already installed, and upgrade them from now on.
  take_ownership  = true
  atomic          = var.wait
  wait            = var.wait
  cleanup_on_fail = true
  timeout         = 120
  max_history     = 5
}

resource "helm_release" "karpenter" {
  name       = "karpenter"
  namespace  = "kube-system"
  repository = local.charts.karpenter.repository
  chart      = local.charts.karpenter.chart
  version    = local.charts.karpenter.version

  values = [templatefile("${path.module}/values/karpenter.yaml", {
    cluster_name = local.cluster.cluster_name
    queue_name   = local.cluster.karpenter_queue_name
    replicas     = var.controller_replicas
    monitoring   = var.monitoring.enabled
  })]

  skip_crds       = true
  atomic          = var.wait
  wait            = var.wait
  cleanup_on_fail = true
  timeout         = 300
  max_history     = 5

  depends_on = [
    helm_release.karpenter_crd,
    helm_release.prometheus_operator_crds,
  ]
}

resource "helm_release" "karpenter_nodes" {
  name        = "karpenter-nodes"
  namespace   = "kube-system"
  chart       = local.own_charts.karpenter-nodes
  description = local.own_chart_digests.karpenter-nodes

  values = [yamlencode({
    clusterName  = local.cluster.cluster_name
    nodeRoleName = local.cluster.karpenter_node_role_name
    subnetIds    = local.cluster.node_subnet_ids
    limits = {
      cpu    = tostring(var.node_limits.cpu)
      memory = var.node_limits.memory
    }
    tags = {
      "app.kubernetes.io/part-of" = local.cluster.cluster_name
      environment                 = var.environment
      managed-by                  = "karpenter"
    }
  })]

  atomic          = var.wait
  wait            = var.wait
  cleanup_on_fail = true
  # A destroy waits until the nodes are drained and terminated: their grace period of 10 minutes, plus a margin.
  timeout     = 780
  max_history = 5

  # Karpenter must outlive its nodes: without it, nothing terminates them.
  depends_on = [helm_release.karpenter]
}
