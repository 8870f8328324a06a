locals {
  # Releases of a stage can be installed in any order. A stage is installed after the one before it, and uninstalled
  # before it.
  stages = [
    # Objects that others refer to: custom resource definitions, namespaces, a storage class.
    "foundation",
    # Their webhooks apply to Ingresses and target groups, which no other release has.
    "controllers",
    # Karpenter must outlive its nodes: without it, nothing terminates them.
    "nodes",
    # Pods that need Karpenter's nodes.
    "workloads",
  ]

  defaults = {
    namespace = "kube-system"
    enabled   = true
    values    = null
    # Name of another release. If set, this release contains the definitions in that release's chart.
    definitions_of = null
    # Helm installs the definitions in a chart's crds directory, but never upgrades them. Here, other releases contain
    # them.
    skip_crds      = false
    take_ownership = false
    # For an installation and for an uninstallation, in seconds. Where they differ, Helm in the box uses install_timeout
    # for the first. helm_release has only one.
    timeout         = 300
    install_timeout = null
  }

  # Only the service's ExternalSecrets need the operator.
  external_secrets_kinds = {
    createClusterExternalSecret = false
    createClusterGenerator      = false
    createClusterPushSecret     = false
    createPushSecret            = false
  }

  described = {
    cluster-baseline = {
      stage = "foundation"
      chart = local.charts.cluster-baseline
      values = yamlencode({
        deployGroup = var.cluster.deploy_group
        monitoring  = var.monitoring.enabled || local.ships_logs || local.collects_traces
      })
      # If the service was deployed first, its namespace already exists.
      take_ownership = true
      # 300 s, because deleting the monitoring namespace waits until its volume is deleted.
    }

    # Karpenter's chart also contains the definitions, but Helm never upgrades those in a chart's crds directory.
    karpenter-crd = {
      stage = "foundation"
      chart = local.charts.karpenter-crd
      # Adopt definitions that are already installed, and upgrade them from now on.
      take_ownership = true
      timeout        = 120
    }

    # These definitions are not published as a separate chart. They come from the controller's chart, at the same
    # version.
    aws-load-balancer-controller-crds = {
      stage          = "foundation"
      chart          = local.charts.custom-resource-definitions
      definitions_of = "aws-load-balancer-controller"
      take_ownership = true
      timeout        = 120
    }

    # These definitions are templates of the operator's chart, so Helm upgrades them. In a release of their own, they
    # outlive the operator; without them, Kubernetes would delete every ExternalSecret.
    external-secrets-crds = {
      stage = "foundation"
      chart = local.charts.external-secrets
      values = yamlencode({
        installCRDs    = true
        crds           = local.external_secrets_kinds
        createOperator = false
        rbac           = { create = false }
        serviceAccount = { create = false }
        webhook        = { create = false }
        certController = { create = false }
      })
      take_ownership = true
      timeout        = 120
    }

    # The published chart of the operator's definitions. All of them are templates, so Helm upgrades them.
    prometheus-operator-crds = {
      stage          = "foundation"
      enabled        = var.monitoring.enabled
      chart          = local.charts.prometheus-operator-crds
      take_ownership = true
      timeout        = 120
    }

    karpenter = {
      stage = "controllers"
      chart = local.charts.karpenter
      values = templatefile("${path.module}/values/karpenter.yaml", {
        cluster_name = var.cluster.cluster_name
        queue_name   = var.cluster.karpenter_queue_name
        replicas     = var.controller_replicas
        monitoring   = var.monitoring.enabled
      })
      skip_crds = true
    }

    aws-load-balancer-controller = {
      stage = "controllers"
      chart = local.charts.aws-load-balancer-controller
      values = templatefile("${path.module}/values/aws-load-balancer-controller.yaml", {
        cluster_name = var.cluster.cluster_name
        region       = var.cluster.region
        vpc_id       = var.cluster.vpc_id
        role_arn     = var.cluster.load_balancer_controller_role_arn
        replicas     = var.controller_replicas
        monitoring   = var.monitoring.enabled
      })
      skip_crds = true
    }

    external-secrets = {
      stage = "controllers"
      chart = local.charts.external-secrets
      values = templatefile("${path.module}/values/external-secrets.yaml", {
        region     = var.cluster.region
        replicas   = var.controller_replicas
        monitoring = var.monitoring.enabled
      })
    }

    metrics-server = {
      stage   = "controllers"
      enabled = !var.cluster.metrics_server_addon
      chart   = local.charts.metrics-server
      values  = file("${path.module}/values/metrics-server.yaml")
    }

    karpenter-nodes = {
      stage = "nodes"
      chart = local.charts.karpenter-nodes
      values = yamlencode(merge(
        {
          clusterName  = var.cluster.cluster_name
          nodeRoleName = var.cluster.karpenter_node_role_name
          subnetIds    = var.cluster.node_subnet_ids
          limits = {
            cpu    = tostring(var.node_limits.cpu)
            memory = var.node_limits.memory
          }
          tags = {
            "app.kubernetes.io/part-of" = var.cluster.cluster_name
            environment                 = var.environment
            managed-by                  = "karpenter"
          }
        },
        # Without these, the chart uses its defaults.
        { for name, value in {
          architecture  = try(var.node_types.architecture, null)
          instanceTypes = try(var.node_types.instance_types, null)
        } : name => value if value != null },
      ))
      # A destroy waits until the nodes are drained and terminated: their grace period of 10 minutes, plus a margin.
      timeout = 780
      # Karpenter accepts or refuses a NodePool within seconds.
      install_timeout = 120
    }

    kube-prometheus-stack = {
      stage     = "workloads"
      enabled   = var.monitoring.enabled
      namespace = "monitoring"
      chart     = local.charts.kube-prometheus-stack
      values = templatefile("${path.module}/values/kube-prometheus-stack.yaml", {
        retention_days = var.monitoring.retention_days
        volume_gib     = var.monitoring.volume_gib
        grafana_secret = var.monitoring.grafana_secret
        notify         = anytrue([for target in [var.monitoring.sns_topic_arn, var.monitoring.webhook_secret] : target != null])
        sns_topic_arn  = var.monitoring.sns_topic_arn
        sns_role_arn   = var.monitoring.sns_role_arn
        webhook_secret = var.monitoring.webhook_secret
        region         = var.cluster.region
        logs           = var.logs.store
        tempo          = var.traces.backend == "tempo"
        # Grafana reads it as one dollar sign.
        dollar = "$$"
      })
      skip_crds = true
      # Includes the launch of a node.
      timeout = 600
    }

    # Makes metrics of Prometheus available to the HPA.
    prometheus-adapter = {
      stage     = "workloads"
      enabled   = var.monitoring.enabled && var.monitoring.adapter
      namespace = "monitoring"
      chart     = local.charts.prometheus-adapter
      values    = file("${path.module}/values/prometheus-adapter.yaml")
    }

    cluster-monitoring = {
      stage     = "workloads"
      enabled   = var.monitoring.enabled
      namespace = "monitoring"
      chart     = local.charts.cluster-monitoring
      values    = yamlencode({ for name, value in { runbookUrl = var.monitoring.runbook_url } : name => value if value != null })
      timeout   = 120
    }
  }

  complete = { for name, release in merge(local.described, local.telemetry) : name => merge(local.defaults, release) }
}
