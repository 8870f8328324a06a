# What reaches the releases from the cluster stack and from the environment. Whether the charts take it is seen
# only against a cluster.

mock_provider "helm" {
  mock_data "helm_template" {
    defaults = {
      crds = ["kind: CustomResourceDefinition\nmetadata: {name: targetgroupbindings.elbv2.k8s.aws}"]
    }
  }
}

override_data {
  target = data.terraform_remote_state.cluster
  values = {
    outputs = {
      region                             = "eu-central-1"
      cluster_name                       = "checked-cluster"
      cluster_endpoint                   = "https://cluster.example"
      cluster_certificate_authority_data = "Y2VydGlmaWNhdGU="
      vpc_id                             = "vpc-0123456789abcdef0"
      karpenter_queue_name               = "checked-queue"
      karpenter_node_role_name           = "checked-node-role"
      node_subnet_ids                    = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
      load_balancer_controller_role_arn  = "arn:aws:iam::123456789012:role/checked-role"
      metrics_server_addon               = true
      deploy_group                       = "checked:deploy"
    }
  }
}

variables {
  environment         = "check"
  cluster_state       = { backend = "local", config = { path = "cluster.tfstate" } }
  controller_replicas = 2
  node_limits         = { cpu = 8, memory = "16Gi" }
  monitoring          = { enabled = true }
}

run "karpenter_knows_its_cluster_and_stays_off_its_own_nodes" {
  command = plan

  assert {
    condition = yamldecode(helm_release.karpenter.values[0]).settings == {
      clusterName       = "checked-cluster"
      interruptionQueue = "checked-queue"
    }
    error_message = "Karpenter needs the cluster's name, and the queue that tells of interruptions."
  }

  assert {
    condition     = yamldecode(helm_release.karpenter.values[0]).nodeSelector["node.fastify-eks/role"] == "system"
    error_message = "Karpenter must run on the managed node group only."
  }

  assert {
    condition     = yamldecode(helm_release.karpenter.values[0]).replicas == 2
    error_message = "Karpenter's replicas are the environment's."
  }
}

run "nodes_get_the_role_limits_and_tags_of_the_environment" {
  command = plan

  assert {
    condition = yamldecode(helm_release.karpenter_nodes.values[0]) == {
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
    error_message = "The nodes' chart gets something else than the cluster stack and the environment say."
  }
}

run "load_balancer_controller_asks_the_instance_metadata_nothing" {
  command = plan

  assert {
    condition = (
      yamldecode(helm_release.load_balancer_controller.values[0]).region == "eu-central-1" &&
      yamldecode(helm_release.load_balancer_controller.values[0]).vpcId == "vpc-0123456789abcdef0" &&
      yamldecode(helm_release.load_balancer_controller.values[0]).clusterName == "checked-cluster"
    )
    error_message = "Region, VPC and cluster must be given: pods cannot ask the instance metadata."
  }

  assert {
    condition = (
      yamldecode(helm_release.load_balancer_controller.values[0]).serviceAccount.name == "aws-load-balancer-controller" &&
      yamldecode(helm_release.load_balancer_controller.values[0]).serviceAccount.annotations["eks.amazonaws.com/role-arn"] == "arn:aws:iam::123456789012:role/checked-role"
    )
    error_message = "The controller must use its own role; its trust policy names this service account."
  }

  assert {
    condition     = !yamldecode(helm_release.load_balancer_controller.values[0]).enableServiceMutatorWebhook
    error_message = "With the service mutator no release could make a Service while the controller is not there."
  }
}

run "only_the_deploy_group_may_deploy" {
  command = plan

  assert {
    condition     = yamldecode(helm_release.cluster_baseline.values[0]).deployGroup == "checked:deploy"
    error_message = "The deploy role must be bound to the cluster stack's deploy group."
  }
}

run "definitions_are_releases_of_their_own" {
  command = plan

  assert {
    condition = (
      helm_release.karpenter.skip_crds &&
      helm_release.load_balancer_controller.skip_crds &&
      helm_release.kube_prometheus_stack["kube-prometheus-stack"].skip_crds &&
      !yamldecode(helm_release.kube_prometheus_stack["kube-prometheus-stack"].values[0]).crds.enabled
    )
    error_message = "A chart that installs its definitions itself never upgrades them."
  }

  assert {
    condition     = helm_release.karpenter_crd.version == helm_release.karpenter.version
    error_message = "Karpenter's definitions must be of Karpenter's version."
  }

  assert {
    condition     = data.helm_template.load_balancer_controller.version == helm_release.load_balancer_controller.version
    error_message = "The load balancer controller's definitions must be of its version."
  }

  assert {
    condition     = strcontains(helm_release.load_balancer_controller_crds.values[0], "targetgroupbindings.elbv2.k8s.aws")
    error_message = "The definitions in the controller's chart do not reach their release."
  }
}

run "no_credential_in_values" {
  command = plan

  assert {
    condition = !anytrue([
      for values in [
        helm_release.cluster_baseline.values,
        helm_release.karpenter.values,
        helm_release.karpenter_nodes.values,
        helm_release.load_balancer_controller.values,
        helm_release.kube_prometheus_stack["kube-prometheus-stack"].values,
      ] : can(regex("(?i)(password|token|secretKey):", values[0]))
    ])
    error_message = "Values end in the state and in the cluster: neither a password nor a token may be in them."
  }
}

run "prometheus_sees_every_namespace_and_never_fills_its_volume" {
  command = plan

  variables {
    monitoring = { enabled = true, retention_days = 3, volume_gib = 20 }
  }

  assert {
    condition = alltrue([
      for kind in ["serviceMonitor", "podMonitor", "probe", "rule", "scrapeConfig"] :
      !yamldecode(helm_release.kube_prometheus_stack["kube-prometheus-stack"].values[0]).prometheus.prometheusSpec["${kind}SelectorNilUsesHelmValues"]
    ])
    error_message = "Prometheus would ignore the monitors and rules of other releases."
  }

  assert {
    condition = (
      yamldecode(helm_release.kube_prometheus_stack["kube-prometheus-stack"].values[0]).prometheus.prometheusSpec.retention == "3d" &&
      yamldecode(helm_release.kube_prometheus_stack["kube-prometheus-stack"].values[0]).prometheus.prometheusSpec.retentionSize == "16GiB"
    )
    error_message = "Metrics must go after 3 days, and before the volume of 20 GiB is full."
  }
}

run "without_monitoring_nobody_needs_its_definitions" {
  command = plan

  variables {
    monitoring = { enabled = false }
  }

  assert {
    condition     = length(helm_release.kube_prometheus_stack) + length(helm_release.prometheus_operator_crds) == 0
    error_message = "Monitoring is off."
  }

  assert {
    condition = (
      !yamldecode(helm_release.karpenter.values[0]).serviceMonitor.enabled &&
      !yamldecode(helm_release.load_balancer_controller.values[0]).serviceMonitor.enabled
    )
    error_message = "Without its definition a ServiceMonitor is refused."
  }

  assert {
    condition     = !yamldecode(helm_release.cluster_baseline.values[0]).monitoring && output.grafana_command == null
    error_message = "There is nothing to reach in the namespace of the monitoring."
  }
}

run "metrics_server_only_without_the_addon" {
  command = plan

  assert {
    condition     = length(helm_release.metrics_server) == 0
    error_message = "The add-on is there: a second metrics-server would fight it for the API."
  }
}

run "metrics_server_without_the_addon" {
  command = plan

  override_data {
    target = data.terraform_remote_state.cluster
    values = {
      outputs = {
        region                             = "eu-central-1"
        cluster_name                       = "checked-cluster"
        cluster_endpoint                   = "https://cluster.example"
        cluster_certificate_authority_data = "Y2VydGlmaWNhdGU="
        vpc_id                             = "vpc-0123456789abcdef0"
        karpenter_queue_name               = "checked-queue"
        karpenter_node_role_name           = "checked-node-role"
        node_subnet_ids                    = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
        load_balancer_controller_role_arn  = "arn:aws:iam::123456789012:role/checked-role"
        metrics_server_addon               = false
        deploy_group                       = "checked:deploy"
      }
    }
  }

  assert {
    condition     = keys(helm_release.metrics_server) == ["metrics-server"]
    error_message = "Without the add-on the HPA would see nothing."
  }
}

run "charts_come_from_their_publishers" {
  command = plan

  assert {
    condition     = helm_release.karpenter.repository == "oci://public.ecr.aws/karpenter" && helm_release.karpenter.chart == "karpenter"
    error_message = "Without a mirror the publisher's repository counts."
  }
}

run "charts_come_from_a_directory" {
  command = plan

  variables {
    chart_mirror = "/srv/charts"
  }

  assert {
    condition     = helm_release.karpenter.repository == null && helm_release.karpenter.chart == "/srv/charts/karpenter-1.14.1.tgz"
    error_message = "In a directory a chart is a file."
  }
}

run "charts_come_from_a_registry_of_ones_own" {
  command = plan

  variables {
    chart_mirror = "oci://registry.example/charts"
  }

  assert {
    condition     = helm_release.load_balancer_controller.repository == "oci://registry.example/charts" && helm_release.load_balancer_controller.chart == "aws-load-balancer-controller"
    error_message = "A registry is asked for the chart's name."
  }
}

run "nothing_half_installed" {
  command = plan

  assert {
    condition = alltrue([
      for release in [helm_release.karpenter, helm_release.load_balancer_controller, helm_release.karpenter_nodes] :
      release.atomic && release.wait
    ])
    error_message = "A release counts once its pods are ready, and is undone otherwise."
  }
}

run "no_waiting_for_pods_that_cannot_come" {
  command = plan

  variables {
    wait = false
  }

  assert {
    condition = !anytrue([
      for release in [helm_release.karpenter, helm_release.load_balancer_controller, helm_release.karpenter_nodes] :
      release.atomic || release.wait
    ])
    error_message = "atomic waits as well, so both must be off."
  }
}

run "an_empty_cluster_state_is_explained" {
  command = plan

  override_data {
    target = data.terraform_remote_state.cluster
    values = { outputs = {} }
  }

  expect_failures = [data.terraform_remote_state.cluster]
}

run "wrong_values_are_refused" {
  command = plan

  variables {
    environment         = "Check"
    cluster_state       = { backend = "http", config = {} }
    chart_mirror        = "charts/"
    controller_replicas = 3
    node_limits         = { cpu = 1, memory = "16GB" }
    monitoring          = { enabled = true, volume_gib = 1 }
  }

  expect_failures = [
    var.environment,
    var.cluster_state,
    var.chart_mirror,
    var.controller_replicas,
    var.node_limits,
    var.monitoring,
  ]
}
