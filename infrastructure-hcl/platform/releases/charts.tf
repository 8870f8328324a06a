locals {
  third_party_charts = {
    aws-load-balancer-controller = { repository = "https://aws.github.io/eks-charts", version = "3.5.0" }
    external-secrets             = { repository = "https://charts.external-secrets.io", version = "1.3.2" }
    fluent-bit                   = { repository = "https://fluent.github.io/helm-charts", version = "0.58.1" }
    karpenter                    = { repository = "oci://public.ecr.aws/karpenter", version = "1.14.1" }
    karpenter-crd                = { repository = "oci://public.ecr.aws/karpenter", version = "1.14.1" }
    kube-prometheus-stack        = { repository = "https://prometheus-community.github.io/helm-charts", version = "88.5.3" }
    loki                         = { repository = "https://grafana-community.github.io/helm-charts", version = "18.11.0" }
    metrics-server               = { repository = "https://kubernetes-sigs.github.io/metrics-server", version = "3.13.1" }
    opentelemetry-collector      = { repository = "https://open-telemetry.github.io/opentelemetry-helm-charts", version = "0.170.0" }
    prometheus-adapter           = { repository = "https://prometheus-community.github.io/helm-charts", version = "5.3.0" }
    # Contains the definitions for the operator in kube-prometheus-stack: upgrade the two together.
    prometheus-operator-crds = { repository = "https://prometheus-community.github.io/helm-charts", version = "31.0.1" }
    tempo                    = { repository = "https://grafana-community.github.io/helm-charts", version = "2.2.4" }
  }

  chart_versions = merge({ for name, chart in local.third_party_charts : name => chart.version }, var.chart_versions)

  # In a registry, a chart has a name and a version. In a directory or on a web server, it is a file.
  mirror_is_registry = startswith(coalesce(var.chart_mirror, "-"), "oci://")
  mirror_of_files    = local.mirror_is_registry ? null : var.chart_mirror

  own_charts = {
    cluster-baseline            = "${path.module}/charts/cluster-baseline"
    cluster-monitoring          = "${path.module}/charts/cluster-monitoring"
    custom-resource-definitions = "${path.module}/charts/custom-resource-definitions"
    karpenter-nodes             = "${path.module}/../../../helm/karpenter-nodes"
  }

  charts = merge(
    {
      for name, chart in local.third_party_charts : name => {
        repository  = local.mirror_of_files != null ? null : local.mirror_is_registry ? var.chart_mirror : chart.repository
        chart       = local.mirror_of_files != null ? "${local.mirror_of_files}/${name}-${local.chart_versions[name]}.tgz" : name
        version     = local.chart_versions[name]
        description = null
      }
    },
    {
      # The Helm provider detects only a new version of a chart. With the digest of its files in the release's
      # description, it also detects changes in our own charts.
      for name, path in local.own_charts : name => {
        repository = null
        chart      = path
        version    = null
        description = "files ${substr(sha256(join("\n", [
          for file in sort(fileset(path, "**")) : "${file} ${filesha256("${path}/${file}")}"
        ])), 0, 12)}"
      }
    },
  )
}
