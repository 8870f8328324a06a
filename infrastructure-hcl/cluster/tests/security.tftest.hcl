# What the stack promises of what it creates itself; what the modules create is asked of AWS in the end-to-end test.

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
    error_message = "A tag must never come to mean another image."
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
    error_message = "Images must not be deleted with the repository unless an environment says so."
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
    error_message = "The newest images, as many as asked for, must be kept and no more."
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
    condition = toset([for tag in aws_ec2_tag.subnet : tag.resource_id if tag.key == "kubernetes.io/role/elb"]) == toset(var.public_subnet_ids)

    error_message = "Internet-facing load balancers belong into the public subnets."
  }

  assert {
    condition = toset([for tag in aws_ec2_tag.subnet : tag.resource_id if tag.key == "kubernetes.io/role/internal-elb"]) == toset(var.private_subnet_ids)

    error_message = "Internal load balancers belong into the private subnets."
  }

  assert {
    condition = toset([
      for tag in aws_ec2_tag.subnet : tag.resource_id if tag.key == "karpenter.sh/discovery" && tag.value == "fastify-eks-cluster"
    ]) == toset(var.private_subnet_ids)

    error_message = "Karpenter's nodes belong into the private subnets."
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
    error_message = "Only pods may take the role on."
  }
}
