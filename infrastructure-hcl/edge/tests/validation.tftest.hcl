# The plan refuses invalid variables before anything is created.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

mock_provider "aws" {
  alias           = "cloudfront"
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  environment = "test"
  region      = "eu-central-1"
  domain      = { zone = "example.com", host = "tasks.example.com" }
}

run "accepts_valid_inputs" {
  command = plan
}

run "accepts_the_zone_itself_as_host" {
  command = plan

  variables {
    domain = { zone = "example.com", host = "example.com" }
  }
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

run "refuses_zone_with_a_final_dot" {
  command = plan

  variables {
    domain = { zone = "example.com.", host = "tasks.example.com" }
  }

  expect_failures = [var.domain]
}

run "refuses_wildcard_host" {
  command = plan

  variables {
    domain = { zone = "example.com", host = "*.example.com" }
  }

  expect_failures = [var.domain]
}

run "refuses_host_outside_the_zone" {
  command = plan

  variables {
    domain = { zone = "example.com", host = "tasks.another-example.com" }
  }

  expect_failures = [var.domain]
}

run "refuses_host_that_no_certificate_can_have" {
  command = plan

  variables {
    domain = { zone = "example.com", host = "a-name-with-more-characters-than-acm-accepts-in-certificates.example.com" }
  }

  expect_failures = [var.domain]
}

run "refuses_rate_limit_below_wafs" {
  command = plan

  variables {
    waf = { rate_limit = 9 }
  }

  expect_failures = [var.waf]
}

run "refuses_unsupported_log_retention" {
  command = plan

  variables {
    waf = { log_retention_days = 31 }
  }

  expect_failures = [var.waf]
}

run "refuses_unknown_price_class" {
  command = plan

  variables {
    cloudfront = { price_class = "PriceClass_Cheap" }
  }

  expect_failures = [var.cloudfront]
}

run "refuses_to_choose_between_two_load_balancers" {
  command = plan

  override_data {
    target = data.aws_lbs.service
    values = { arns = ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/one/1", "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/two/2"] }
  }

  expect_failures = [data.aws_lbs.service]
}
