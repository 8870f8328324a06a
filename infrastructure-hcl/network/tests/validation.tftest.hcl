# The plan refuses invalid variables before anything is created.

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
  nat         = "instance"
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
    zones  = ["frankfurta", "frankfurtb"]
  }

  expect_failures = [var.region]
}

run "refuses_long_cluster_name" {
  command = plan

  variables {
    cluster_name = "a-name-that-has-30-characters-"
  }

  expect_failures = [var.cluster_name]
}

run "refuses_malformed_cidr" {
  command = plan

  variables {
    cidr = "10.0.0.0"
  }

  expect_failures = [var.cidr]
}

run "refuses_a_cidr_that_begins_in_the_middle" {
  command = plan

  variables {
    cidr = "10.0.1.0/16"
  }

  expect_failures = [var.cidr]
}

run "refuses_a_vpc_that_is_too_large" {
  command = plan

  variables {
    cidr = "10.0.0.0/15"
  }

  expect_failures = [var.cidr]
}

run "refuses_a_vpc_that_is_too_small" {
  command = plan

  variables {
    cidr = "10.0.0.0/21"
  }

  expect_failures = [var.cidr]
}

run "refuses_public_addresses" {
  command = plan

  variables {
    cidr = "8.8.0.0/16"
  }

  expect_failures = [var.cidr]
}

run "refuses_a_single_zone" {
  command = plan

  variables {
    zones = ["eu-central-1a"]
  }

  expect_failures = [var.zones]
}

run "refuses_four_zones" {
  command = plan

  variables {
    zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c", "eu-central-1d"]
  }

  expect_failures = [var.zones]
}

run "refuses_duplicate_zone" {
  command = plan

  variables {
    zones = ["eu-central-1a", "eu-central-1a", "eu-central-1b"]
  }

  expect_failures = [var.zones]
}

run "refuses_a_zone_of_another_region" {
  command = plan

  variables {
    zones = ["eu-central-1a", "eu-west-1b"]
  }

  expect_failures = [var.zones]
}

run "refuses_unknown_nat" {
  command = plan

  variables {
    nat = "none"
  }

  expect_failures = [var.nat]
}

run "refuses_a_nat_instance_with_another_processor" {
  command = plan

  variables {
    nat_instance_type = "t3.nano"
  }

  expect_failures = [var.nat_instance_type]
}

run "refuses_an_endpoint_that_the_cluster_does_not_use" {
  command = plan

  variables {
    interface_endpoints = ["ecr.api", "kinesis-streams"]
  }

  expect_failures = [var.interface_endpoints]
}

run "refuses_unknown_flow_log_traffic" {
  command = plan

  variables {
    flow_logs = { traffic = "SOME" }
  }

  expect_failures = [var.flow_logs]
}

run "refuses_retention_that_cloudwatch_does_not_offer" {
  command = plan

  variables {
    flow_logs = { retention_days = 42 }
  }

  expect_failures = [var.flow_logs]
}
