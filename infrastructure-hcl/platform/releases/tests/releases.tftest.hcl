# Tests the description of the releases, which needs no provider. Only a cluster can show whether the charts accept the
# values.

variables {
  environment = "check"
  cluster = {
    region                            = "eu-central-1"
    cluster_name                      = "checked-cluster"
    vpc_id                            = "vpc-0123456789abcdef0"
    karpenter_queue_name              = "checked-queue"
    karpenter_node_role_name          = "checked-node-role"
    node_subnet_ids                   = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
    load_balancer_controller_role_arn = "arn:aws:iam::123456789012:role/checked-role"
    metrics_server_addon              = true
    deploy_group                      = "checked:deploy"
  }
  controller_replicas = 2
  node_limits         = { cpu = 8, memory = "16Gi" }
  monitoring          = { enabled = true }
}

run "karpenter_gets_its_cluster_and_avoids_its_own_nodes" {
  command = plan

  assert {
    condition = yamldecode(output.releases["karpenter"].values[0]).settings == {
      clusterName       = "checked-cluster"
      interruptionQueue = "checked-queue"
    }
    error_message = "Karpenter must get the cluster's name and the interruption queue."
  }

  assert {
    condition     = yamldecode(output.releases["karpenter"].values[0]).nodeSelector["node.fastify-eks/role"] == "system"
    error_message = "Karpenter must run on the managed node group only."
  }

  assert {
    condition     = yamldecode(output.releases["karpenter"].values[0]).replicas == 2
    error_message = "The environment must set Karpenter's replicas."
  }
}

run "nodes_get_the_role_limits_and_tags_of_the_environment" {
  command = plan

  assert {
    condition = yamldecode(output.releases["karpenter-nodes"].values[0]) == {
      clusterName  = "checked-cluster"
      nodeRoleName = "checked-node-role"
      subnetIds    = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
      limits       = { cpu = "8", memory = "16Gi" }
      tags = {
        "app.kubernetes.io/part-of" = "checked-cluster"
        environment                 = "check"
        managed-by                  = "karpenter"
      }
    }
    error_message = "The chart of the nodes must get its values from the cluster stack and the environment."
  }
}

run "load_balancer_controller_does_not_need_the_instance_metadata" {
  command = plan

  assert {
    condition = (
      yamldecode(output.releases["aws-load-balancer-controller"].values[0]).region == "eu-central-1" &&
      yamldecode(output.releases["aws-load-balancer-controller"].values[0]).vpcId == "vpc-0123456789abcdef0" &&
      yamldecode(output.releases["aws-load-balancer-controller"].values[0]).clusterName == "checked-cluster"
    )
    error_message = "Region, VPC and cluster must be set, because pods cannot read the instance metadata."
  }

  assert {
    condition = (
      yamldecode(output.releases["aws-load-balancer-controller"].values[0]).serviceAccount.name == "aws-load-balancer-controller" &&
      yamldecode(output.releases["aws-load-balancer-controller"].values[0]).serviceAccount.annotations["eks.amazonaws.com/role-arn"] == "arn:aws:iam::123456789012:role/checked-role"
    )
    error_message = "The controller must use its own role; its trust policy names this service account."
  }

  assert {
    condition     = !yamldecode(output.releases["aws-load-balancer-controller"].values[0]).enableServiceMutatorWebhook
    error_message = "With the service mutator webhook, no release could create a Service while the controller is down."
  }
}

run "external_secrets_reads_secrets_manager_with_its_own_role" {
  command = plan

  assert {
    condition = yamldecode(output.releases["external-secrets"].values[0]).extraObjects[0].spec == {
      provider   = { aws = { service = "SecretsManager", region = "eu-central-1" } }
      conditions = [{ namespaces = ["fastify-app"] }]
    }
    error_message = "The store must use the operator's own credentials, and serve only the service's namespace."
  }

  assert {
    condition = (
      output.releases["external-secrets"].namespace == "kube-system" &&
      yamldecode(output.releases["external-secrets"].values[0]).serviceAccount.name == "external-secrets"
    )
    error_message = "The cluster stack associates the operator's role with this service account."
  }

  assert {
    condition = (
      !yamldecode(output.releases["external-secrets"].values[0]).installCRDs &&
      yamldecode(output.releases["external-secrets-crds"].values[0]).installCRDs &&
      !yamldecode(output.releases["external-secrets-crds"].values[0]).createOperator &&
      output.releases["external-secrets-crds"].stage == "foundation"
    )
    error_message = "The definitions must be a release of their own, which is installed first."
  }
}

run "only_the_deploy_group_may_deploy" {
  command = plan

  assert {
    condition     = yamldecode(output.releases["cluster-baseline"].values[0]).deployGroup == "checked:deploy"
    error_message = "The deploy role must be bound to the cluster stack's deploy group."
  }
}

run "definitions_are_separate_releases" {
  command = plan

  assert {
    condition = (
      output.releases["karpenter"].skip_crds &&
      output.releases["aws-load-balancer-controller"].skip_crds &&
      output.releases["kube-prometheus-stack"].skip_crds &&
      !yamldecode(output.releases["kube-prometheus-stack"].values[0]).crds.enabled
    )
    error_message = "Charts must not install their own definitions, because Helm would never upgrade them."
  }

  assert {
    condition     = output.releases["karpenter-crd"].version == output.releases["karpenter"].version
    error_message = "Karpenter's definitions must have Karpenter's version."
  }

  assert {
    condition = alltrue([
      for name, release in output.releases :
      release.definitions_of == null || (release.stage == "foundation" && output.releases[coalesce(release.definitions_of, name)].skip_crds)
    ])
    error_message = "Definitions must be installed before the release that they belong to, and only once."
  }

  assert {
    condition     = output.releases["aws-load-balancer-controller-crds"].definitions_of == "aws-load-balancer-controller"
    error_message = "The release must contain the definitions of the controller's chart."
  }
}

run "releases_come_after_what_they_need" {
  command = plan

  assert {
    condition     = output.stages == ["foundation", "controllers", "nodes", "workloads"]
    error_message = "Definitions come before the controllers, and Karpenter outlives its nodes."
  }

  assert {
    condition = { for name, release in output.releases : name => release.stage } == {
      cluster-baseline                  = "foundation"
      karpenter-crd                     = "foundation"
      aws-load-balancer-controller-crds = "foundation"
      external-secrets-crds             = "foundation"
      prometheus-operator-crds          = "foundation"
      karpenter                         = "controllers"
      aws-load-balancer-controller      = "controllers"
      external-secrets                  = "controllers"
      karpenter-nodes                   = "nodes"
      cluster-monitoring                = "workloads"
      kube-prometheus-stack             = "workloads"
    }
    error_message = "Each release must be in the stage after the one that it needs."
  }
}

run "values_contain_no_credentials" {
  command = plan

  assert {
    condition = !anytrue([
      for values in flatten([for release in output.releases : release.values]) :
      can(regex("(?i)(password|token|secretKey):", values))
    ])
    error_message = "Values must not contain passwords or tokens, because they are stored in the state and in the cluster."
  }
}

run "prometheus_selects_all_namespaces_and_does_not_fill_its_volume" {
  command = plan

  variables {
    monitoring = { enabled = true, retention_days = 3, volume_gib = 20 }
  }

  assert {
    condition = alltrue([
      for kind in ["serviceMonitor", "podMonitor", "probe", "rule", "scrapeConfig"] :
      !yamldecode(output.releases["kube-prometheus-stack"].values[0]).prometheus.prometheusSpec["${kind}SelectorNilUsesHelmValues"]
    ])
    error_message = "Prometheus must select the monitors and rules of other releases."
  }

  assert {
    condition = (
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).prometheus.prometheusSpec.retention == "3d" &&
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).prometheus.prometheusSpec.retentionSize == "16GiB"
    )
    error_message = "Metrics must be deleted after 3 days, and before the volume of 20 GiB is full."
  }
}

run "the_adapter_is_optional" {
  command = plan

  assert {
    condition     = !contains(keys(output.releases), "prometheus-adapter")
    error_message = "An HPA that scales by CPU needs no adapter."
  }
}

run "the_adapter_provides_the_metrics_of_the_hpa" {
  command = plan

  variables {
    monitoring = { enabled = true, adapter = true }
  }

  assert {
    condition = [for rule in yamldecode(output.releases["prometheus-adapter"].values[0]).rules.custom : rule.name.as] == [
      "nodejs_eventloop_utilization", "http_requests_per_second",
    ]
    error_message = "The adapter must provide the two metrics that the service's chart can target."
  }
}

run "grafana_loads_the_dashboards_of_all_charts" {
  command = plan

  assert {
    condition = yamldecode(output.releases["kube-prometheus-stack"].values[0]).grafana.sidecar.dashboards == {
      searchNamespace = "ALL"
      # The default of dashboards.labels in our charts.
      label      = "grafana_dashboard"
      labelValue = "1"
    }
    error_message = "Grafana's sidecar must find the ConfigMaps of the service's and of the cluster's chart."
  }
}

run "alerts_go_nowhere_without_a_receiver" {
  command = plan

  assert {
    condition = (
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).alertmanager.config.route.receiver == "none" &&
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).alertmanager.config.receivers == [{ name = "none" }]
    )
    error_message = "Without a topic and a webhook, the default receiver must do nothing."
  }

  assert {
    condition     = !can(yamldecode(output.releases["kube-prometheus-stack"].values[0]).grafana.admin)
    error_message = "Without an existing Secret, the chart must generate Grafana's password."
  }

  assert {
    condition     = yamldecode(output.releases["cluster-monitoring"].values[0]) == {}
    error_message = "Without a URL, the chart's default must apply."
  }
}

run "alerts_go_to_the_topic_and_to_the_webhook" {
  command = plan

  variables {
    monitoring = {
      enabled        = true
      sns_topic_arn  = "arn:aws:sns:eu-west-1:123456789012:alerts"
      sns_role_arn   = "arn:aws:iam::123456789012:role/alerts"
      webhook_secret = "alerts-webhook"
      grafana_secret = "grafana-admin"
      runbook_url    = "https://example.org/runbooks"
    }
  }

  assert {
    condition = yamldecode(output.releases["kube-prometheus-stack"].values[0]).alertmanager.config.receivers[1] == {
      name = "notify"
      sns_configs = [{
        topic_arn     = "arn:aws:sns:eu-west-1:123456789012:alerts"
        sigv4         = { region = "eu-west-1" }
        send_resolved = true
      }]
      webhook_configs = [{
        url_file      = "/etc/alertmanager/secrets/alerts-webhook/url"
        send_resolved = true
      }]
    }
    error_message = "Both receivers must be configured, in the topic's region and with the mounted file."
  }

  assert {
    condition = (
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).alertmanager.alertmanagerSpec.secrets == ["alerts-webhook"] &&
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).alertmanager.serviceAccount.annotations["eks.amazonaws.com/role-arn"] == "arn:aws:iam::123456789012:role/alerts"
    )
    error_message = "Alertmanager must mount the Secret and use the role."
  }

  assert {
    condition = (
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).grafana.admin.existingSecret == "grafana-admin" &&
      strcontains(output.grafana_password_command, "get secret grafana-admin ") &&
      yamldecode(output.releases["cluster-monitoring"].values[0]).runbookUrl == "https://example.org/runbooks"
    )
    error_message = "Grafana's Secret and the URL of the runbooks must come from the environment."
  }
}

run "a_topic_needs_a_role" {
  command = plan

  variables {
    monitoring = { enabled = true, sns_topic_arn = "arn:aws:sns:eu-west-1:123456789012:alerts" }
  }

  expect_failures = [var.monitoring]
}

run "without_monitoring_its_definitions_are_not_installed" {
  command = plan

  variables {
    monitoring = { enabled = false }
  }

  assert {
    condition     = length(setintersection(keys(output.releases), ["cluster-monitoring", "kube-prometheus-stack", "prometheus-operator-crds"])) == 0
    error_message = "Without monitoring, neither the stack nor its definitions must be installed."
  }

  assert {
    condition = (
      !yamldecode(output.releases["karpenter"].values[0]).serviceMonitor.enabled &&
      !yamldecode(output.releases["aws-load-balancer-controller"].values[0]).serviceMonitor.enabled
    )
    error_message = "Without its definition, a cluster refuses a ServiceMonitor."
  }

  assert {
    condition = !yamldecode(output.releases["cluster-baseline"].values[0]).monitoring && alltrue([
      for command in [output.grafana_command, output.grafana_password_command, output.prometheus_command, output.alertmanager_command] : command == null
    ])
    error_message = "Without monitoring, there must be no namespace and no commands."
  }
}

run "logs_and_traces_are_optional" {
  command = plan

  assert {
    condition     = length(setintersection(keys(output.releases), ["fluent-bit", "loki", "opentelemetry-collector", "tempo"])) == 0
    error_message = "Without logs and traces, neither stores nor agents must be installed."
  }

  assert {
    condition     = !can(yamldecode(output.releases["kube-prometheus-stack"].values[0]).grafana.additionalDataSources)
    error_message = "Without stores, Grafana must have no data sources for them."
  }
}

run "loki_and_tempo_are_linked_in_grafana" {
  command = plan

  variables {
    logs   = { store = "loki", retention_days = 2, volume_gib = 6 }
    traces = { backend = "tempo", retention_days = 1, volume_gib = 7 }
  }

  assert {
    condition = alltrue([
      for name in ["fluent-bit", "loki", "opentelemetry-collector", "tempo"] :
      output.releases[name].stage == "workloads" && output.releases[name].namespace == "monitoring"
    ])
    error_message = "Stores and agents must be installed after the nodes, in the namespace of Grafana."
  }

  assert {
    condition = (
      yamldecode(output.releases["loki"].values[0]).loki.limits_config.retention_period == "48h" &&
      yamldecode(output.releases["loki"].values[0]).loki.compactor.retention_enabled &&
      yamldecode(output.releases["loki"].values[0]).singleBinary.persistence.size == "6Gi" &&
      yamldecode(yamldecode(output.releases["tempo"].values[0]).config).compactor.compaction.block_retention == "24h" &&
      yamldecode(output.releases["tempo"].values[0]).persistence.size == "7Gi"
    )
    error_message = "Retention and sizes must come from the environment."
  }

  assert {
    condition     = strcontains(yamldecode(output.releases["fluent-bit"].values[0]).config.outputs, "Host loki.monitoring.svc")
    error_message = "Fluent Bit must send to Loki."
  }

  assert {
    condition     = yamldecode(output.releases["opentelemetry-collector"].values[0]).config.exporters.otlp_http.endpoint == "http://tempo.monitoring.svc:4318"
    error_message = "The collector must send to Tempo."
  }

  assert {
    condition = (
      [for source in yamldecode(output.releases["kube-prometheus-stack"].values[0]).grafana.additionalDataSources : source.uid] == ["loki", "tempo"] &&
      # Grafana reads two dollar signs as one.
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).grafana.additionalDataSources[0].jsonData.derivedFields[0].url == format("%s{__value.raw}", "$$") &&
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).grafana.additionalDataSources[1].jsonData.tracesToLogsV2.datasourceUid == "loki"
    )
    error_message = "Lines must link to traces, and traces to lines."
  }

  assert {
    condition = (
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).grafana.sidecar.datasources.exemplarTraceIdDestinations.datasourceUid == "tempo" &&
      yamldecode(output.releases["kube-prometheus-stack"].values[0]).prometheus.prometheusSpec.enableFeatures == ["exemplar-storage"]
    )
    error_message = "Prometheus must keep exemplars, and Grafana must link them to traces."
  }
}

run "cloudwatch_and_xray_need_the_cluster_stack" {
  command = plan

  variables {
    logs   = { store = "cloudwatch" }
    traces = { backend = "xray" }
  }

  expect_failures = [var.logs, var.traces]
}

run "logs_go_to_the_log_group_and_traces_to_xray" {
  command = plan

  variables {
    cluster = {
      region                            = "eu-central-1"
      cluster_name                      = "checked-cluster"
      vpc_id                            = "vpc-0123456789abcdef0"
      karpenter_queue_name              = "checked-queue"
      karpenter_node_role_name          = "checked-node-role"
      node_subnet_ids                   = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
      load_balancer_controller_role_arn = "arn:aws:iam::123456789012:role/checked-role"
      metrics_server_addon              = true
      deploy_group                      = "checked:deploy"
      pod_log_group                     = "/aws/eks/checked-cluster/pods"
      trace_role                        = true
    }
    monitoring = { enabled = false }
    logs       = { store = "cloudwatch" }
    traces     = { backend = "xray" }
  }

  assert {
    condition = (
      strcontains(yamldecode(output.releases["fluent-bit"].values[0]).config.outputs, "log_group_name /aws/eks/checked-cluster/pods") &&
      yamldecode(output.releases["fluent-bit"].values[0]).serviceAccount.name == "fluent-bit"
    )
    error_message = "Fluent Bit must write to the cluster stack's group, as the service account with its role."
  }

  assert {
    condition = (
      yamldecode(output.releases["opentelemetry-collector"].values[0]).config.exporters.awsxray.region == "eu-central-1" &&
      yamldecode(output.releases["opentelemetry-collector"].values[0]).serviceAccount.name == "opentelemetry-collector"
    )
    error_message = "The collector must send to X-Ray, as the service account with its role."
  }

  assert {
    condition     = length(setintersection(keys(output.releases), ["loki", "tempo"])) == 0
    error_message = "AWS stores the logs and traces."
  }

  assert {
    condition     = yamldecode(output.releases["cluster-baseline"].values[0]).monitoring
    error_message = "The namespace of the agents must exist without Prometheus too."
  }
}

run "metrics_server_only_without_the_addon" {
  command = plan

  assert {
    condition     = !contains(keys(output.releases), "metrics-server")
    error_message = "With the add-on, a second metrics-server would compete for the API."
  }
}

run "metrics_server_without_the_addon" {
  command = plan

  variables {
    cluster = {
      region                            = "eu-central-1"
      cluster_name                      = "checked-cluster"
      vpc_id                            = "vpc-0123456789abcdef0"
      karpenter_queue_name              = "checked-queue"
      karpenter_node_role_name          = "checked-node-role"
      node_subnet_ids                   = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
      load_balancer_controller_role_arn = "arn:aws:iam::123456789012:role/checked-role"
      metrics_server_addon              = false
      deploy_group                      = "checked:deploy"
    }
  }

  assert {
    condition     = contains(keys(output.releases), "metrics-server")
    error_message = "Without the add-on, the stack must install metrics-server."
  }
}

run "charts_come_from_their_publishers" {
  command = plan

  assert {
    condition     = output.releases["karpenter"].repository == "oci://public.ecr.aws/karpenter" && output.releases["karpenter"].chart == "karpenter"
    error_message = "Without a mirror, charts must come from the publisher's repository."
  }
}

run "charts_come_from_a_directory" {
  command = plan

  variables {
    chart_mirror = "/srv/charts"
  }

  assert {
    condition     = output.releases["karpenter"].repository == null && output.releases["karpenter"].chart == "/srv/charts/karpenter-1.14.1.tgz"
    error_message = "In a directory, a chart must be a file."
  }
}

run "charts_come_from_a_private_registry" {
  command = plan

  variables {
    chart_mirror = "oci://registry.example/charts"
  }

  assert {
    condition     = output.releases["aws-load-balancer-controller"].repository == "oci://registry.example/charts" && output.releases["aws-load-balancer-controller"].chart == "aws-load-balancer-controller"
    error_message = "In a registry, a chart must have its plain name."
  }
}

run "failed_releases_are_rolled_back" {
  command = plan

  assert {
    condition = alltrue([
      for release in [output.releases["karpenter"], output.releases["aws-load-balancer-controller"], output.releases["karpenter-nodes"]] :
      release.atomic && release.wait
    ])
    error_message = "A release must wait until its pods are ready, and be rolled back otherwise."
  }
}

run "wait_can_be_disabled" {
  command = plan

  variables {
    wait = false
  }

  assert {
    condition = !anytrue([
      for release in [output.releases["karpenter"], output.releases["aws-load-balancer-controller"], output.releases["karpenter-nodes"]] :
      release.atomic || release.wait
    ])
    error_message = "atomic also waits, so both must be disabled."
  }
}

run "nodes_get_the_types_of_the_environment" {
  command = plan

  variables {
    node_types = { architecture = "amd64", instance_types = ["t3a.small", "t3.small"] }
  }

  assert {
    condition = (
      yamldecode(output.releases["karpenter-nodes"].values[0]).architecture == "amd64" &&
      yamldecode(output.releases["karpenter-nodes"].values[0]).instanceTypes == ["t3a.small", "t3.small"]
    )
    error_message = "The environment must be able to replace the chart's architecture and instance types."
  }
}

run "an_environment_can_replace_a_chart_version" {
  command = plan

  variables {
    chart_mirror   = "/srv/charts"
    chart_versions = { aws-load-balancer-controller = "3.2.2" }
  }

  assert {
    condition = (
      output.releases["aws-load-balancer-controller"].version == "3.2.2" &&
      output.releases["aws-load-balancer-controller"].chart == "/srv/charts/aws-load-balancer-controller-3.2.2.tgz" &&
      output.releases["karpenter"].version == "1.14.1"
    )
    error_message = "Only the version of the named chart must be replaced."
  }
}

# Separate, because Terraform checks these variables only after those that they refer to.
run "unknown_stores_are_refused" {
  command = plan

  variables {
    logs   = { store = "elsewhere" }
    traces = { backend = "tempo", volume_gib = 1 }
  }

  expect_failures = [var.logs, var.traces]
}

run "loki_and_tempo_need_grafana" {
  command = plan

  variables {
    monitoring = { enabled = false }
    logs       = { store = "loki" }
    traces     = { backend = "tempo" }
  }

  expect_failures = [var.logs, var.traces]
}

run "invalid_values_are_refused" {
  command = plan

  variables {
    environment         = "Check"
    chart_mirror        = "charts/"
    chart_versions      = { unknown = "1.0.0" }
    node_types          = { architecture = "arm", instance_types = [] }
    controller_replicas = 3
    node_limits         = { cpu = 1, memory = "16GB" }
    monitoring          = { enabled = true, volume_gib = 1 }
  }

  expect_failures = [
    var.environment,
    var.chart_mirror,
    var.chart_versions,
    var.node_types,
    var.controller_replicas,
    var.node_limits,
    var.monitoring,
  ]
}
