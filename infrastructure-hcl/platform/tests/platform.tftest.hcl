# Tests the values that the releases get from the cluster stack and the environment. Only a cluster can show whether the
# charts accept them.

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

run "karpenter_gets_its_cluster_and_avoids_its_own_nodes" {
  command = plan

  assert {
    condition = yamldecode(helm_release.karpenter.values[0]).settings == {
      clusterName       = "checked-cluster"
      interruptionQueue = "checked-queue"
    }
    error_message = "Karpenter must get the cluster's name and the interruption queue."
  }

  assert {
    condition     = yamldecode(helm_release.karpenter.values[0]).nodeSelector["node.fastify-eks/role"] == "system"
    error_message = "Karpenter must run on the managed node group only."
  }

  assert {
    condition     = yamldecode(helm_release.karpenter.values[0]).replicas == 2
    error_message = "The environment must set Karpenter's replicas."
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
    error_message = "The chart of the nodes must get its values from the cluster stack and the environment."
  }
}

run "load_balancer_controller_does_not_need_the_instance_metadata" {
  command = plan

  assert {
    condition = (
      yamldecode(helm_release.load_balancer_controller.values[0]).region == "eu-central-1" &&
      yamldecode(helm_release.load_balancer_controller.values[0]).vpcId == "vpc-0123456789abcdef0" &&
      yamldecode(helm_release.load_balancer_controller.values[0]).clusterName == "checked-cluster"
    )
    error_message = "Region, VPC and cluster must be set, because pods cannot read the instance metadata."
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
    error_message = "With the service mutator webhook, no release could create a Service while the controller is down."
  }
}

run "only_the_deploy_group_may_deploy" {
  command = plan

  assert {
    condition     = yamldecode(helm_release.cluster_baseline.values[0]).deployGroup == "checked:deploy"
    error_message = "The deploy role must be bound to the cluster stack's deploy group."
  }
}

run "definitions_are_separate_releases" {
  command = plan

  assert {
    condition = (
      helm_release.karpenter.skip_crds &&
      helm_release.load_balancer_controller.skip_crds &&
      helm_release.kube_prometheus_stack["kube-prometheus-stack"].skip_crds &&
      !yamldecode(helm_release.kube_prometheus_stack["kube-prometheus-stack"].values[0]).crds.enabled
    )
    error_message = "Charts must not install their own definitions, because Helm would never upgrade them."
  }

  assert {
    condition     = helm_release.karpenter_crd.version == helm_release.karpenter.version
    error_message = "Karpenter's definitions must have Karpenter's version."
  }

  assert {
    condition     = data.helm_template.load_balancer_controller.version == helm_release.load_balancer_controller.version
    error_message = "The load balancer controller's definitions must have its version."
  }

  assert {
    condition     = strcontains(helm_release.load_balancer_controller_crds.values[0], "targetgroupbindings.elbv2.k8s.aws")
    error_message = "The release must contain the definitions of the controller's chart."
  }
}

run "values_contain_no_credentials" {
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
      !yamldecode(helm_release.kube_prometheus_stack["kube-prometheus-stack"].values[0]).prometheus.prometheusSpec["${kind}SelectorNilUsesHelmValues"]
    ])
    error_message = "Prometheus must select the monitors and rules of other releases."
  }

  assert {
    condition = (
      yamldecode(helm_release.kube_prometheus_stack["kube-prometheus-stack"].values[0]).prometheus.prometheusSpec.retention == "3d" &&
      yamldecode(helm_release.kube_prometheus_stack["kube-prometheus-stack"].values[0]).prometheus.prometheusSpec.retentionSize == "16GiB"
    )
    error_message = "Metrics must be deleted after 3 days, and before the volume of 20 GiB is full."
  }
}

run "without_monitoring_its_definitions_are_not_installed" {
  command = plan

  variables {
    monitoring = { enabled = false }
  }

  assert {
    condition     = length(helm_release.kube_prometheus_stack) + length(helm_release.prometheus_operator_crds) == 0
    error_message = "Without monitoring, neither the stack nor its definitions must be installed."
  }

  assert {
    condition = (
      !yamldecode(helm_release.karpenter.values[0]).serviceMonitor.enabled &&
      !yamldecode(helm_release.load_balancer_controller.values[0]).serviceMonitor.enabled
    )
    error_message = "Without its definition, a cluster refuses a ServiceMonitor."
  }

  assert {
    condition     = !yamldecode(helm_release.cluster_baseline.values[0]).monitoring && output.grafana_command == null
    error_message = "Without monitoring, there must be no namespace and no command for Grafana."
  }
}

run "metrics_server_only_without_the_addon" {
  command = plan

  assert {
    condition     = length(helm_release.metrics_server) == 0
    error_message = "With the add-on, a second metrics-server would compete for the API."
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
    error_message = "Without the add-on, the stack must install metrics-server."
  }
}

run "charts_come_from_their_publishers" {
  command = plan

  assert {
    condition     = helm_release.karpenter.repository == "oci://public.ecr.aws/karpenter" && helm_release.karpenter.chart == "karpenter"
    error_message = "Without a mirror, charts must come from the publisher's repository."
  }
}

run "charts_come_from_a_directory" {
  command = plan

  variables {
    chart_mirror = "/srv/charts"
  }

  assert {
    condition     = helm_release.karpenter.repository == null && helm_release.karpenter.chart == "/srv/charts/karpenter-1.14.1.tgz"
    error_message = "In a directory, a chart must be a file."
  }
}

run "charts_come_from_a_private_registry" {
  command = plan

  variables {
    chart_mirror = "oci://registry.example/charts"
  }

  assert {
    condition     = helm_release.load_balancer_controller.repository == "oci://registry.example/charts" && helm_release.load_balancer_controller.chart == "aws-load-balancer-controller"
    error_message = "In a registry, a chart must have its plain name."
  }
}

run "failed_releases_are_rolled_back" {
  command = plan

  assert {
    condition = alltrue([
      for release in [helm_release.karpenter, helm_release.load_balancer_controller, helm_release.karpenter_nodes] :
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
      for release in [helm_release.karpenter, helm_release.load_balancer_controller, helm_release.karpenter_nodes] :
      release.atomic || release.wait
    ])
    error_message = "atomic also waits, so both must be disabled."
  }
}

run "an_empty_cluster_state_is_refused" {
  command = plan

  override_data {
    target = data.terraform_remote_state.cluster
    values = { outputs = {} }
  }

  expect_failures = [data.terraform_remote_state.cluster]
}

run "invalid_values_are_refused" {
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
