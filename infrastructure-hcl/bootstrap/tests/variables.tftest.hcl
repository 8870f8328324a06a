# Invalid variables fail at the plan, with the messages in variables.tf.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  environment        = "dev"
  region             = "eu-central-1"
  repository         = { name = "example/service", id = "456", owner_id = "123" }
  monthly_budget_usd = 100
  budget_emails      = ["somebody@example.com"]
}

run "a_repository_is_not_a_pattern" {
  command         = plan
  expect_failures = [var.repository]

  variables {
    repository = { name = "example/*", id = "456", owner_id = "123" }
  }
}

run "an_id_is_not_a_pattern" {
  command         = plan
  expect_failures = [var.repository]

  variables {
    repository = { name = "example/service", id = "*", owner_id = "123" }
  }
}

run "a_branch_is_not_a_pattern" {
  command         = plan
  expect_failures = [var.branch]

  variables {
    branch = "release/*"
  }
}

run "an_environment_is_a_single_name" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = "dev,prod"
  }
}

run "a_region_is_a_code" {
  command         = plan
  expect_failures = [var.region]

  variables {
    region = "Frankfurt"
  }
}

run "the_cluster_name_is_not_a_prefix_of_cis_roles" {
  command         = plan
  expect_failures = [var.cluster_name]

  variables {
    cluster_name = "fastify-eks"
  }
}

run "an_image_repository_is_a_single_name" {
  command         = plan
  expect_failures = [var.image_repository]

  variables {
    image_repository = "*"
  }
}

run "a_budget_is_an_amount" {
  command         = plan
  expect_failures = [var.monthly_budget_usd]

  variables {
    monthly_budget_usd = 0
  }
}

run "a_budget_has_recipients" {
  command         = plan
  expect_failures = [var.budget_emails]

  variables {
    budget_emails = []
  }
}

run "a_recipient_is_an_email_address" {
  command         = plan
  expect_failures = [var.budget_emails]

  variables {
    budget_emails = ["somebody"]
  }
}

run "a_zone_is_an_id_without_wildcards" {
  command = plan

  variables {
    edge_zone_id = "*"
  }

  expect_failures = [var.edge_zone_id]
}
