# Tests that the resources install what the module releases describes. The module's own tests cover the description.

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
      metrics_server_addon               = false
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

run "every_described_release_is_installed" {
  command = plan

  assert {
    condition = toset(keys(module.releases.releases)) == toset(flatten([
      keys(helm_release.foundation), keys(helm_release.controllers), keys(helm_release.nodes), keys(helm_release.workloads),
    ]))
    error_message = "The resources must install all releases, and no others."
  }

  assert {
    condition = alltrue([
      for name, release in merge(helm_release.controllers, helm_release.nodes, helm_release.workloads) :
      release.values == module.releases.releases[name].values && release.chart == module.releases.releases[name].chart
    ])
    error_message = "The resources must use the charts and values of the description."
  }
}

run "definitions_come_from_the_chart_of_their_controller" {
  command = plan

  assert {
    condition = (
      data.helm_template.definitions["aws-load-balancer-controller-crds"].chart == helm_release.controllers["aws-load-balancer-controller"].chart &&
      data.helm_template.definitions["aws-load-balancer-controller-crds"].version == helm_release.controllers["aws-load-balancer-controller"].version
    )
    error_message = "The load balancer controller's definitions must come from its own chart, at its version."
  }

  assert {
    condition     = strcontains(helm_release.foundation["aws-load-balancer-controller-crds"].values[0], "targetgroupbindings.elbv2.k8s.aws")
    error_message = "The release must contain the definitions of the controller's chart."
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

run "an_unknown_backend_is_refused" {
  command = plan

  variables {
    cluster_state = { backend = "http", config = {} }
  }

  expect_failures = [var.cluster_state]
}
