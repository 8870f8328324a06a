# The plan refuses invalid variables before anything is created.

mock_provider "aws" {
  override_during = plan
}

variables {
  environment = "test"
  region      = "eu-central-1"
}

run "refuses_environment_without_letters" {
  command         = plan
  expect_failures = [var.environment]

  variables {
    environment = "1"
  }
}

run "refuses_invalid_region" {
  command         = plan
  expect_failures = [var.region]

  variables {
    region = "frankfurt"
  }
}

run "refuses_long_cluster_name" {
  command         = plan
  expect_failures = [var.cluster_name]

  variables {
    cluster_name = "a-name-that-has-30-characters-"
  }
}

run "refuses_an_unknown_backend" {
  command         = plan
  expect_failures = [var.states]

  variables {
    states = { data = { backend = "http", config = {} } }
  }
}

run "refuses_a_key_that_cloudwatch_cannot_use" {
  command         = plan
  expect_failures = [var.topic_key]

  variables {
    topic_key = "alias/aws/sns"
  }
}

run "refuses_a_key_without_alias_prefix" {
  command         = plan
  expect_failures = [var.topic_key]

  variables {
    topic_key = "fastify-eks-alarms"
  }
}

run "refuses_an_invalid_email" {
  command         = plan
  expect_failures = [var.emails]

  variables {
    emails = ["somebody"]
  }
}

run "refuses_a_webhook_without_tls" {
  command         = plan
  expect_failures = [var.webhook_url]

  variables {
    webhook_url = "http://hooks.example.com/abc"
  }
}

run "refuses_a_webhook_with_a_password" {
  command         = plan
  expect_failures = [var.webhook_url]

  variables {
    webhook_url = "https://user:password@hooks.example.com/abc"
  }
}

run "refuses_documentation_without_tls" {
  command         = plan
  expect_failures = [var.documentation_url]

  variables {
    documentation_url = "http://example.com"
  }
}

run "refuses_half_a_connection" {
  command         = plan
  expect_failures = [var.database_connections]

  variables {
    database_connections = 1.5
  }
}

run "refuses_a_budget_of_nothing" {
  command         = plan
  expect_failures = [var.daily_budget_usd]

  variables {
    daily_budget_usd = 0
  }
}

run "refuses_a_time_that_does_not_exist" {
  command         = plan
  expect_failures = [var.sleep]

  variables {
    sleep = { from = "24:00", until = "07:00", timezone = "Europe/Berlin" }
  }
}

run "refuses_a_time_too_late_for_the_last_step" {
  command         = plan
  expect_failures = [var.sleep]

  variables {
    sleep = { from = "23:15", until = "07:00", timezone = "Europe/Berlin" }
  }
}

run "refuses_an_unknown_day" {
  command         = plan
  expect_failures = [var.sleep]

  variables {
    sleep = { from = "20:00", until = "07:00", days = "Monday", timezone = "Europe/Berlin" }
  }
}

run "refuses_an_offset_as_timezone" {
  command         = plan
  expect_failures = [var.sleep]

  variables {
    sleep = { from = "20:00", until = "07:00", timezone = "+01:00" }
  }
}
