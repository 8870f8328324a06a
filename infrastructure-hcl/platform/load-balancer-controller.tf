# Helm never upgrades definitions in a chart's crds directory, and these definitions are not published as a separate
# chart. This data source reads them from the controller's chart, at the same version, for a separate release.
data "helm_template" "load_balancer_controller" {
  name       = "aws-load-balancer-controller"
  namespace  = "kube-system"
  repository = local.charts.aws-load-balancer-controller.repository
  chart      = local.charts.aws-load-balancer-controller.chart
  version    = local.charts.aws-load-balancer-controller.version

  include_crds = true
  # include_crds applies regardless of show_only. Everything rendered is stored in the state, so render only one
  # template without secrets.
  show_only = ["templates/serviceaccount.yaml"]
  values    = [yamlencode({ clusterName = local.cluster.cluster_name })]
}

resource "helm_release" "load_balancer_controller_crds" {
  name        = "aws-load-balancer-controller-crds"
  namespace   = "kube-system"
  chart       = local.own_charts.custom-resource-definitions
  description = local.own_chart_digests.custom-resource-definitions

  values = [yamlencode({ definitions = data.helm_template.load_balancer_controller.crds })]

  # Adopt definitions that are already installed, and upgrade them from now on.
  take_ownership  = true
  atomic          = var.wait
  wait            = var.wait
  cleanup_on_fail = true
  timeout         = 120
  max_history     = 5
}

resource "helm_release" "load_balancer_controller" {
  name       = "aws-load-balancer-controller"
  namespace  = "kube-system"
  repository = local.charts.aws-load-balancer-controller.repository
  chart      = local.charts.aws-load-balancer-controller.chart
  version    = local.charts.aws-load-balancer-controller.version

  values = [templatefile("${path.module}/values/aws-load-balancer-controller.yaml", {
    cluster_name = local.cluster.cluster_name
    region       = local.cluster.region
    vpc_id       = local.cluster.vpc_id
    role_arn     = local.cluster.load_balancer_controller_role_arn
    replicas     = var.controller_replicas
    monitoring   = var.monitoring.enabled
  })]

  skip_crds       = true
  atomic          = var.wait
  wait            = var.wait
  cleanup_on_fail = true
  timeout         = 300
  max_history     = 5

  # No other release depends on this one: its webhooks apply to Ingresses and target groups, which no other release has.
  depends_on = [
    helm_release.load_balancer_controller_crds,
    helm_release.prometheus_operator_crds,
  ]
}
