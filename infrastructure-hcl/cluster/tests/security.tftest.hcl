# Tests the resources that the stack creates itself. The end-to-end test checks those of the modules.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  environment        = "test"
  region             = "eu-central-1"
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
