# What the stack creates in each mode. No run contacts AWS: every run is a plan.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

mock_provider "aws" {
  alias           = "untagged"
  override_during = plan
}

variables {
  environment = "test"
  region      = "eu-central-1"
  zones       = ["eu-central-1a", "eu-central-1b"]
  nat         = "gateway"
}

run "subnets_do_not_overlap_and_keep_their_blocks_when_a_zone_is_added" {
  command = plan

  variables {
    zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  }

  assert {
    condition     = local.public_cidrs == ["10.0.0.0/22", "10.0.4.0/22", "10.0.8.0/22"]
    error_message = "The public subnets must begin with the VPC."
  }

  assert {
    condition     = local.database_cidrs == ["10.0.16.0/24", "10.0.17.0/24", "10.0.18.0/24"]
    error_message = "The databases' subnets must not overlap with the others."
  }

  assert {
    condition     = local.private_cidrs == ["10.0.32.0/19", "10.0.64.0/19", "10.0.96.0/19"]
    error_message = "The private subnets must not overlap with the others."
  }
}

run "the_smallest_vpc_has_subnets_that_an_alb_accepts" {
  command = plan

  variables {
    cidr = "192.168.16.0/20"
  }

  assert {
    condition     = local.public_cidrs == ["192.168.16.0/26", "192.168.16.64/26"]
    error_message = "An ALB needs subnets of at least /27."
  }
}

run "a_gateway_needs_no_instance" {
  command = plan

  assert {
    condition     = length(aws_instance.nat) == 0 && length(aws_eip.nat) == 0 && length(aws_route.nat_instance) == 0
    error_message = "The module creates the NAT gateway and its route."
  }
}

run "an_instance_forwards_and_nothing_else" {
  command = plan

  variables {
    nat = "instance"
  }

  override_resource {
    target          = aws_network_interface.nat
    override_during = plan
    values          = { id = "eni-00000000000000001" }
  }

  assert {
    condition     = keys(aws_instance.nat) == ["eu-central-1a"] && aws_instance.nat["eu-central-1a"].instance_type == "t4g.nano"
    error_message = "One small instance must be enough."
  }

  assert {
    condition     = aws_network_interface.nat["eu-central-1a"].source_dest_check == false
    error_message = "With the check, EC2 drops the packets of others."
  }

  assert {
    condition = (
      aws_route.nat_instance["eu-central-1a"].destination_cidr_block == "0.0.0.0/0" &&
      aws_route.nat_instance["eu-central-1a"].network_interface_id == "eni-00000000000000001"
    )
    error_message = "The private subnets must send their packets to the instance."
  }

  assert {
    condition     = toset(values(aws_vpc_security_group_ingress_rule.nat)[*].cidr_ipv4) == toset(["10.0.32.0/19", "10.0.64.0/19"])
    error_message = "Only the private subnets may use the instance, not the internet."
  }

  assert {
    condition     = aws_instance.nat["eu-central-1a"].metadata_options[0].http_tokens == "required"
    error_message = "The metadata service must require a session."
  }

  assert {
    condition     = aws_instance.nat["eu-central-1a"].root_block_device[0].encrypted
    error_message = "The volume must be encrypted."
  }

  assert {
    condition = alltrue([for line in ["net.ipv4.ip_forward = 1", "ip saddr 10.0.0.0/16 ip daddr != 10.0.0.0/16 masquerade"] :
    strcontains(aws_instance.nat["eu-central-1a"].user_data, line)])
    error_message = "The instance must forward packets that leave the VPC, with its own address."
  }
}

run "the_default_security_group_is_empty" {
  command = plan

  assert {
    condition     = length(aws_default_security_group.this.ingress) == 0 && length(aws_default_security_group.this.egress) == 0
    error_message = "What forgets to choose a security group must not be reachable."
  }
}

run "layers_of_images_do_not_pass_through_the_nat" {
  command = plan

  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && aws_vpc_endpoint.s3.service_name == "com.amazonaws.eu-central-1.s3"
    error_message = "The free endpoint for S3 must always exist."
  }

  assert {
    condition     = length(aws_vpc_endpoint.interface) == 0 && length(aws_security_group.endpoints) == 0
    error_message = "Interface endpoints have a price, so they must be chosen."
  }
}

run "interface_endpoints_accept_https_of_the_private_subnets" {
  command = plan

  variables {
    interface_endpoints = ["ecr.api", "sts"]
  }

  assert {
    condition     = toset(values(aws_vpc_endpoint.interface)[*].service_name) == toset(["com.amazonaws.eu-central-1.ecr.api", "com.amazonaws.eu-central-1.sts"])
    error_message = "Each chosen service must have an endpoint."
  }

  assert {
    condition     = alltrue(values(aws_vpc_endpoint.interface)[*].private_dns_enabled)
    error_message = "Without private DNS, clients would not use the endpoint."
  }

  assert {
    condition = { for zone, rule in aws_vpc_security_group_ingress_rule.endpoints : rule.cidr_ipv4 => "${rule.from_port}-${rule.to_port}/${rule.ip_protocol}" } == {
      "10.0.32.0/19" = "443-443/tcp"
      "10.0.64.0/19" = "443-443/tcp"
    }
    error_message = "Only HTTPS of the private subnets may reach the endpoints."
  }
}

run "the_flow_logs_role_stays_within_the_boundary" {
  command = plan

  variables {
    permissions_boundary = "some-boundary"
  }

  assert {
    condition     = local.permissions_boundary == "arn:aws:iam::123456789012:policy/some-boundary"
    error_message = "The role must carry the boundary of its own account."
  }
}

run "outputs_name_what_other_stacks_need" {
  command = plan

  assert {
    condition     = length(output.public_subnet_ids) == 2 && length(output.private_subnet_ids) == 2 && length(output.database_subnet_ids) == 2
    error_message = "Each zone must have a subnet of each kind."
  }

  assert {
    condition     = output.vpc_cidr == "10.0.0.0/16" && output.database_subnet_cidrs == ["10.0.16.0/24", "10.0.17.0/24"]
    error_message = "NetworkPolicies need the blocks."
  }
}
