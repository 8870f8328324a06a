# The plan refuses invalid variables before anything is created.

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

run "accepts_valid_inputs" {
  command = plan
}

run "refuses_environment_without_letters" {
  command = plan

  variables {
    environment = "1"
  }

  expect_failures = [var.environment]
}

run "refuses_invalid_region" {
  command = plan

  variables {
    region = "frankfurt"
  }

  expect_failures = [var.region]
}

run "refuses_long_cluster_name" {
  command = plan

  variables {
    cluster_name = "a-name-of-a-cluster-that-is-longer-than-its-roles-allow"
  }

  expect_failures = [var.cluster_name]
}

run "accepts_cluster_name_at_iams_limit" {
  command = plan

  variables {
    cluster_name = "a-name-that-has-29-characters"
  }
}

run "refuses_cluster_name_above_iams_limit" {
  command = plan

  variables {
    cluster_name = "a-name-that-has-30-characters-"
  }

  expect_failures = [var.cluster_name]
}

run "refuses_secrets_key_without_alias_prefix" {
  command = plan

  variables {
    secrets_key = "fastify-eks-secrets"
  }

  expect_failures = [var.secrets_key]
}

run "refuses_kubernetes_patch_version" {
  command = plan

  variables {
    kubernetes_version = "1.35.4"
  }

  expect_failures = [var.kubernetes_version]
}

run "refuses_kubernetes_version_that_eks_does_not_offer" {
  command = plan

  variables {
    kubernetes_version = "1.29"
  }

  expect_failures = [data.aws_eks_cluster_versions.standard]
}

run "refuses_unknown_network" {
  command = plan

  variables {
    network = "my-vpc"
  }

  expect_failures = [var.network]
}

run "refuses_no_state_of_the_network_stack" {
  command = plan

  variables {
    network = "stack"
  }

  expect_failures = [var.network_state]
}

run "refuses_unknown_backend_of_the_network_stack" {
  command = plan

  variables {
    network       = "stack"
    network_state = { backend = "http", config = {} }
  }

  expect_failures = [var.network_state]
}

run "refuses_a_network_stack_that_is_not_applied" {
  command = plan

  variables {
    network       = "stack"
    network_state = { backend = "local", config = { path = "network.tfstate" } }
  }

  override_data {
    target = data.terraform_remote_state.network["network"]
    values = { outputs = {} }
  }

  expect_failures = [data.terraform_remote_state.network]
}

run "refuses_existing_network_without_ids" {
  command = plan

  variables {
    vpc_id             = null
    private_subnet_ids = []
    public_subnet_ids  = []
  }

  expect_failures = [var.vpc_id, var.private_subnet_ids]
}

run "refuses_malformed_vpc_id" {
  command = plan

  variables {
    vpc_id = "vpc-xyz"
  }

  expect_failures = [var.vpc_id]
}

run "refuses_malformed_private_subnet" {
  command = plan

  variables {
    private_subnet_ids = ["subnet-1", "subnet-2"]
  }

  expect_failures = [var.private_subnet_ids]
}

run "refuses_duplicate_private_subnet" {
  command = plan

  variables {
    private_subnet_ids = ["subnet-0000000000000000a", "subnet-0000000000000000a"]
  }

  expect_failures = [var.private_subnet_ids]
}

run "refuses_a_single_private_subnet" {
  command = plan

  variables {
    private_subnet_ids = ["subnet-0000000000000000a"]
  }

  expect_failures = [var.private_subnet_ids]
}

run "refuses_malformed_public_subnet" {
  command = plan

  variables {
    public_subnet_ids = ["10.0.0.0/24", "10.0.1.0/24"]
  }

  expect_failures = [var.public_subnet_ids]
}

run "refuses_duplicate_public_subnet" {
  command = plan

  variables {
    public_subnet_ids = ["subnet-0000000000000000c", "subnet-0000000000000000c"]
  }

  expect_failures = [var.public_subnet_ids]
}

run "refuses_a_single_public_subnet" {
  command = plan

  variables {
    public_subnet_ids = ["subnet-0000000000000000c"]
  }

  expect_failures = [var.public_subnet_ids]
}

run "refuses_a_subnet_that_is_public_and_private" {
  command = plan

  variables {
    public_subnet_ids = ["subnet-0000000000000000a", "subnet-0000000000000000c"]
  }

  expect_failures = [var.public_subnet_ids]
}

run "refuses_invalid_cidr" {
  command = plan

  variables {
    endpoint_public_access_cidrs = ["10.0.0.0/33"]
  }

  expect_failures = [var.endpoint_public_access_cidrs]
}

run "refuses_endpoint_open_to_the_internet" {
  command = plan

  variables {
    endpoint_public_access_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.endpoint_public_access_cidrs]
}

# EKS refuses an empty list of networks, and so does the stand-in for the module.
run "accepts_endpoint_that_is_closed_later" {
  command = plan

  variables {
    endpoint_public_access_cidrs = []
  }
}

run "refuses_no_administrators" {
  command = plan

  variables {
    access = { admins = [] }
  }

  expect_failures = [var.access]
}

run "refuses_assumed_role_as_principal" {
  command = plan

  variables {
    access = { admins = ["arn:aws:sts::123456789012:assumed-role/admin/me"] }
  }

  expect_failures = [var.access]
}

run "refuses_duplicate_principal" {
  command = plan

  variables {
    access = {
      admins  = ["arn:aws:iam::123456789012:role/admin"]
      readers = ["arn:aws:iam::123456789012:role/admin"]
    }
  }

  expect_failures = [var.access]
}

run "refuses_fewer_nodes_than_the_minimum" {
  command = plan

  variables {
    system_nodes = { min_size = 3, desired_size = 2 }
  }

  expect_failures = [var.system_nodes]
}

run "refuses_a_cluster_without_system_nodes" {
  command = plan

  variables {
    system_nodes = { min_size = 0, desired_size = 0 }
  }

  expect_failures = [var.system_nodes]
}

run "refuses_nodes_of_another_architecture" {
  command = plan

  variables {
    system_nodes = { instance_type = "t3.small" }
  }

  expect_failures = [var.system_nodes]
}

run "accepts_x86_nodes" {
  command = plan

  variables {
    system_nodes = { instance_type = "t3.small", ami_type = "AL2023_x86_64_STANDARD" }
  }
}

run "refuses_an_unknown_ami_type" {
  command = plan

  variables {
    system_nodes = { instance_type = "t3.small", ami_type = "BOTTLEROCKET_x86_64" }
  }

  expect_failures = [var.system_nodes]
}

run "refuses_retention_that_cloudwatch_does_not_offer" {
  command = plan

  variables {
    log_retention_days = 42
    cloudwatch         = { log_retention_days = 42 }
  }

  expect_failures = [var.log_retention_days, var.cloudwatch]
}

run "refuses_log_type_that_eks_does_not_write" {
  command = plan

  variables {
    log_types = ["kubelet"]
  }

  expect_failures = [var.log_types]
}

run "refuses_no_image_to_roll_back_to" {
  command = plan

  variables {
    images = { kept = 1 }
  }

  expect_failures = [var.images]
}

run "refuses_private_subnets_in_one_zone" {
  command = plan

  override_data {
    target = data.aws_subnet.private["subnet-0000000000000000b"]
    values = { id = "subnet-0000000000000000b", vpc_id = "vpc-00000000000000001", availability_zone = "eu-central-1a" }
  }

  expect_failures = [aws_ec2_tag.subnet]
}

run "refuses_public_subnets_in_one_zone" {
  command = plan

  override_data {
    target = data.aws_subnet.public["subnet-0000000000000000d"]
    values = { id = "subnet-0000000000000000d", vpc_id = "vpc-00000000000000001", availability_zone = "eu-central-1a" }
  }

  expect_failures = [aws_ec2_tag.subnet]
}

run "refuses_a_subnet_of_another_vpc" {
  command = plan

  override_data {
    target = data.aws_subnet.private["subnet-0000000000000000b"]
    values = { id = "subnet-0000000000000000b", vpc_id = "vpc-00000000000000002", availability_zone = "eu-central-1b" }
  }

  expect_failures = [data.aws_subnet.private]
}
