# Tests the resources that the stack creates itself. The end-to-end test checks those of the modules.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  environment        = "test"
  region             = "eu-central-1"
  network            = "existing"
  vpc_id             = "vpc-00000000000000001"
  private_subnet_ids = ["subnet-0000000000000000a", "subnet-0000000000000000b"]
  public_subnet_ids  = ["subnet-0000000000000000c", "subnet-0000000000000000d"]
  access             = { admins = ["arn:aws:iam::123456789012:role/admin"] }
}

run "images_cannot_be_swapped_and_are_scanned" {
  command = plan

  assert {
    condition     = aws_ecr_repository.service.image_tag_mutability == "IMMUTABLE"
    error_message = "A tag must always identify the same image."
  }

  assert {
    condition     = aws_ecr_repository.service.image_scanning_configuration[0].scan_on_push
    error_message = "Images must be scanned when they are pushed."
  }

  assert {
    condition     = aws_ecr_repository.service.encryption_configuration[0].encryption_type == "KMS"
    error_message = "Images must be encrypted with KMS."
  }

  assert {
    condition     = !aws_ecr_repository.service.force_delete
    error_message = "A destroy must not delete images unless the environment allows it."
  }
}

run "old_images_expire" {
  command = plan

  variables {
    images = { kept = 7 }
  }

  assert {
    condition = anytrue([
      for rule in jsondecode(aws_ecr_lifecycle_policy.service.policy).rules :
      rule.selection.tagStatus == "tagged" && rule.selection.countType == "imageCountMoreThan" && rule.selection.countNumber == 7
    ])
    error_message = "Only the requested number of newest images must be kept."
  }

  assert {
    condition = anytrue([
      for rule in jsondecode(aws_ecr_lifecycle_policy.service.policy).rules : rule.selection.tagStatus == "untagged"
    ])
    error_message = "Images without a tag must expire."
  }
}

run "subnets_are_found_by_their_tags" {
  command = plan

  assert {
    condition     = toset([for tag in aws_ec2_tag.subnet : tag.resource_id if tag.key == "kubernetes.io/role/elb"]) == toset(var.public_subnet_ids)
    error_message = "Internet-facing load balancers must be in the public subnets."
  }

  assert {
    condition     = toset([for tag in aws_ec2_tag.subnet : tag.resource_id if tag.key == "kubernetes.io/role/internal-elb"]) == toset(var.private_subnet_ids)
    error_message = "Internal load balancers must be in the private subnets."
  }

  assert {
    condition     = output.node_subnet_ids == var.private_subnet_ids
    error_message = "Karpenter's nodes must be in the private subnets."
  }
}

run "the_network_stack_owns_the_roles_of_its_subnets" {
  command = plan

  variables {
    network            = "stack"
    network_state      = { backend = "local", config = { path = "network.tfstate" } }
    vpc_id             = null
    private_subnet_ids = []
    public_subnet_ids  = []
  }

  override_data {
    target = data.terraform_remote_state.network["network"]
    values = {
      outputs = {
        vpc_id              = "vpc-00000000000000001"
        private_subnet_ids  = ["subnet-0000000000000000a", "subnet-0000000000000000b"]
        public_subnet_ids   = ["subnet-0000000000000000c", "subnet-0000000000000000d"]
        database_subnet_ids = ["subnet-0000000000000000e", "subnet-0000000000000000f"]
      }
    }
  }

  assert {
    condition     = { for tag in aws_ec2_tag.subnet : tag.resource_id => tag.key } == { for id in ["a", "b", "c", "d"] : "subnet-0000000000000000${id}" => "kubernetes.io/cluster/fastify-eks-cluster" }
    error_message = "Two stacks must not manage the same tag."
  }

  assert {
    condition     = output.node_subnet_ids == tolist(["subnet-0000000000000000a", "subnet-0000000000000000b"])
    error_message = "Karpenter's nodes must be in the private subnets of the network stack."
  }
}

run "another_clusters_tags_are_left_alone" {
  command = plan

  override_data {
    target = data.aws_subnet.private["subnet-0000000000000000a"]
    values = {
      id                = "subnet-0000000000000000a"
      vpc_id            = "vpc-00000000000000001"
      availability_zone = "eu-central-1a"
      tags = {
        "karpenter.sh/discovery"          = "another-cluster"
        "kubernetes.io/role/internal-elb" = ""
      }
    }
  }

  assert {
    condition     = [for tag in aws_ec2_tag.subnet : tag.key if tag.resource_id == "subnet-0000000000000000a"] == ["kubernetes.io/cluster/fastify-eks-cluster"]
    error_message = "An existing role tag belongs to the subnet's owner, and the discovery tag to the other cluster."
  }

  assert {
    condition     = length([for tag in aws_ec2_tag.subnet : tag if tag.resource_id == "subnet-0000000000000000b"]) == 2
    error_message = "A subnet without a role tag must get one."
  }
}

run "tags_of_an_earlier_apply_stay" {
  command = plan

  override_data {
    target = data.aws_subnet.private["subnet-0000000000000000a"]
    values = {
      id                = "subnet-0000000000000000a"
      vpc_id            = "vpc-00000000000000001"
      availability_zone = "eu-central-1a"
      tags = {
        "kubernetes.io/role/internal-elb"           = "1"
        "kubernetes.io/cluster/fastify-eks-cluster" = "shared"
      }
    }
  }

  assert {
    condition     = length([for tag in aws_ec2_tag.subnet : tag if tag.resource_id == "subnet-0000000000000000a"]) == 2
    error_message = "The cluster's own tag shows that this stack added the role tag."
  }
}

run "network_policies_are_enforced" {
  command = plan

  assert {
    condition     = jsondecode(local.addons["vpc-cni"].configuration_values).enableNetworkPolicy == "true"
    error_message = "Without this setting, the VPC CNI plugin ignores the chart's NetworkPolicies."
  }
}

run "planners_read_secrets_of_the_platforms_releases_only" {
  command = plan

  variables {
    access = {
      admins   = ["arn:aws:iam::123456789012:role/admin"]
      planners = ["arn:aws:iam::123456789012:role/plan"]
    }
  }

  assert {
    condition = local.access_entries["plan:arn:aws:iam::123456789012:role/plan"].policy_associations == {
      releases = {
        policy_arn   = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSAdminViewPolicy"
        access_scope = { type = "namespace", namespaces = ["kube-system", "monitoring"] }
      }
    }
    error_message = "A pull request's plan must not read the service's Secrets."
  }
}

run "the_secrets_key_can_be_bootstraps" {
  command = plan

  variables {
    secrets_key = "alias/some-key"
  }

  override_data {
    target = data.aws_kms_key.secrets
    values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }

  assert {
    condition     = keys(data.aws_kms_key.secrets) == ["alias/some-key"]
    error_message = "The stack must look up the key by its alias."
  }
}

run "roles_stay_within_the_boundary" {
  command = plan

  variables {
    permissions_boundary = "some-boundary"
  }

  assert {
    condition     = aws_iam_role.ebs_csi.permissions_boundary == "arn:aws:iam::123456789012:policy/some-boundary"
    error_message = "The role must carry the boundary of its own account."
  }

  assert {
    condition     = jsondecode(aws_iam_role.ebs_csi.assume_role_policy).Statement[0].Principal.Service == "pods.eks.amazonaws.com"
    error_message = "Only pods may assume the role."
  }
}

run "the_node_group_can_be_put_to_sleep" {
  command = plan

  variables {
    system_nodes = { min_size = 0, desired_size = 2 }
  }

  assert {
    condition     = output.system_node_group == { name = "system-1", min_size = 0, desired_size = 2 }
    error_message = "The schedule needs the group's name and the size that it restores."
  }
}

run "container_insights_are_an_option" {
  command = plan

  variables {
    container_insights = true
  }

  assert {
    condition     = contains(local.addons_left_out, "amazon-cloudwatch-observability") == false && length(local.addons["amazon-cloudwatch-observability"].pod_identity_association) == 1
    error_message = "The add-on must have a role of its own."
  }

  assert {
    condition     = jsondecode(local.addons["amazon-cloudwatch-observability"].configuration_values).containerLogs.enabled == false
    error_message = "Metrics must not bring the price of logs with them."
  }
}

run "container_insights_are_off_by_default" {
  command = plan

  assert {
    condition     = contains(local.addons_left_out, "amazon-cloudwatch-observability") && length(aws_iam_role.cloudwatch_agent) == 0
    error_message = "Observations have a price."
  }
}

run "pods_have_no_role_for_logs_and_traces_by_default" {
  command = plan

  assert {
    condition     = length(aws_iam_role.telemetry) == 0 && length(aws_cloudwatch_log_group.pods) == 0 && output.pod_log_group == null
    error_message = "Without the variable, there must be neither a log group nor roles."
  }
}

run "roles_for_logs_and_traces_have_few_permissions" {
  command = plan

  variables {
    permissions_boundary = "some-boundary"
    cloudwatch           = { logs = true, log_retention_days = 7, traces = true }
  }

  assert {
    condition     = output.pod_log_group == "/aws/eks/fastify-eks-cluster/pods" && aws_cloudwatch_log_group.pods[output.pod_log_group].retention_in_days == 7
    error_message = "The group must have the retention of the environment."
  }

  assert {
    condition = {
      for name, association in aws_eks_pod_identity_association.telemetry : name => "${association.namespace}/${association.service_account}"
      } == {
      fluent-bit              = "monitoring/fluent-bit"
      grafana                 = "monitoring/kube-prometheus-stack-grafana"
      opentelemetry-collector = "monitoring/opentelemetry-collector"
    }
    error_message = "Only the pods of these service accounts may use the roles."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.telemetry["fluent-bit"].policy).Statement == [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = ["arn:aws:logs:eu-central-1:123456789012:log-group:/aws/eks/fastify-eks-cluster/pods:*"]
    }]
    error_message = "Fluent Bit must write to the group of the pods only."
  }

  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.telemetry["opentelemetry-collector"].policy).Statement : statement.Action])) == toset([
      "xray:PutTelemetryRecords", "xray:PutTraceSegments",
    ])
    error_message = "The collector must only send traces."
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.telemetry : role.permissions_boundary == "arn:aws:iam::123456789012:policy/some-boundary"])
    error_message = "The roles must carry the boundary of their own account."
  }
}

run "external_secrets_reads_only_the_secrets_of_the_cluster" {
  command = plan

  variables {
    permissions_boundary = "some-boundary"
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.external_secrets.policy).Statement :
      statement.Action == ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
    ])
    error_message = "The operator must not change secrets."
  }

  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.external_secrets.policy).Statement :
      statement.Resource => can(statement.Condition.ArnLike["aws:ResourceTag/aws:rds:primaryDBInstanceArn"])
      } == {
      "arn:aws:secretsmanager:eu-central-1:123456789012:secret:${var.cluster_name}/*" = false
      "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-*"              = true
    }
    error_message = "Other secrets of the account, and those of other databases, must stay unreadable."
  }

  assert {
    condition = (
      aws_eks_pod_identity_association.external_secrets.namespace == "kube-system" &&
      aws_eks_pod_identity_association.external_secrets.service_account == "external-secrets" &&
      aws_iam_role.external_secrets.permissions_boundary == "arn:aws:iam::123456789012:policy/some-boundary"
    )
    error_message = "Only the operator may have the role, and the role must carry the boundary."
  }
}
