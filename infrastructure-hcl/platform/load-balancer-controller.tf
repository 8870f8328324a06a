# Helm never upgrades what is in a chart's crds folder, and nobody publishes these definitions as a chart. So they
# are read from the controller's own chart, at its version, and become a release that is upgraded with it.
data "helm_template" "load_balancer_controller" {
  name       = "aws-load-balancer-controller"
  namespace  = "kube-system"
  repository = local.charts.aws-load-balancer-controller.repository
  chart      = local.charts.aws-load-balancer-controller.chart
  version    = local.charts.aws-load-balancer-controller.version

  include_crds = true
  # Definitions come regardless; of the rest only what has no secrets, as everything rendered ends in the state.
  show_only = ["templates/serviceaccount.yaml"]
  values    = [yamlencode({ clusterName = local.cluster.cluster_name })]
}

resource "helm_release" "load_balancer_controller_crds" {
  name        = "aws-load-balancer-controller-crds"
  namespace   = "kube-system"
  chart       = local.own_charts.custom-resource-definitions
  description = local.own_chart_digests.custom-resource-definitions

  values = [yamlencode({ definitions = data.helm_template.load_balancer_controller.crds })]

  # Definitions that something else has installed stay where they are and are upgraded from here on.
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

  # No other release waits for this one: its webhooks concern Ingresses and target groups, which none of them has.
  depends_on = [
    helm_release.load_balancer_controller_crds,
    helm_release.prometheus_operator_crds,
  ]
}
