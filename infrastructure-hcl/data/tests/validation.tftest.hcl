# The plan refuses invalid variables before anything is created.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_subnet" {
    defaults = { vpc_id = "vpc-0123456789abcdef0", cidr_block = "10.0.32.0/19" }
  }

  mock_resource "aws_db_instance" {
    defaults = {
      address            = "checked-cluster.abc.eu-central-1.rds.amazonaws.com"
      master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-0" }]
    }
  }
}

override_data {
  target = data.terraform_remote_state.cluster
  values = {
    outputs = {
      region                 = "eu-central-1"
      cluster_name           = "checked-cluster"
      vpc_id                 = "vpc-0123456789abcdef0"
      database_subnet_ids    = null
      node_subnet_ids        = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
      node_security_group_id = "sg-0123456789abcdef0"
    }
  }
}

override_data {
  target = data.aws_subnet.this["subnet-0123456789abcdef0"]
  values = { vpc_id = "vpc-0123456789abcdef0", cidr_block = "10.0.32.0/19", availability_zone = "eu-central-1a" }
}

override_data {
  target = data.aws_subnet.this["subnet-0123456789abcdef1"]
  values = { vpc_id = "vpc-0123456789abcdef0", cidr_block = "10.0.64.0/19", availability_zone = "eu-central-1b" }
}

variables {
  environment   = "check"
  cluster_state = { backend = "local", config = { path = "cluster.tfstate" } }
  database = {
    instance_class        = "db.t4g.micro"
    multi_az              = false
    backup_retention_days = 1
    deletion_protection   = false
    final_snapshot        = false
  }
  cache     = { node_type = "cache.t4g.micro", replicas = 0 }
  passwords = { service = "first-random-password", migration = "second-random-password", cache = "third-random-password" }
}

run "refuses_environment_without_letters" {
  command = plan

  variables {
    environment = "1"
  }

  expect_failures = [var.environment]
}

run "refuses_unknown_backend" {
  command = plan

  variables {
    cluster_state = { backend = "http", config = {} }
  }

  expect_failures = [var.cluster_state]
}

run "refuses_malformed_subnets" {
  command = plan

  variables {
    database_subnet_ids = ["subnet-1", "subnet-2"]
  }

  expect_failures = [var.database_subnet_ids]
}

run "refuses_one_subnet" {
  command = plan

  variables {
    database_subnet_ids = ["subnet-0123456789abcdef0"]
  }

  expect_failures = [var.database_subnet_ids]
}

run "refuses_ec2_instance_type" {
  command = plan

  variables {
    database = {
      instance_class        = "t4g.micro"
      multi_az              = false
      backup_retention_days = 1
      deletion_protection   = false
      final_snapshot        = false
    }
  }

  expect_failures = [var.database]
}

run "refuses_version_without_tls_by_default" {
  command = plan

  variables {
    database = {
      instance_class        = "db.t4g.micro"
      multi_az              = false
      backup_retention_days = 1
      deletion_protection   = false
      final_snapshot        = false
      engine_version        = "14"
    }
  }

  expect_failures = [var.database]
}

run "refuses_storage_below_gp3s_minimum" {
  command = plan

  variables {
    database = {
      instance_class        = "db.t4g.micro"
      multi_az              = false
      backup_retention_days = 1
      deletion_protection   = false
      final_snapshot        = false
      storage_gib           = 10
    }
  }

  expect_failures = [var.database]
}

run "refuses_to_run_without_backups" {
  command = plan

  variables {
    database = {
      instance_class        = "db.t4g.micro"
      multi_az              = false
      backup_retention_days = 0
      deletion_protection   = false
      final_snapshot        = false
    }
  }

  expect_failures = [var.database]
}

run "refuses_prod_without_a_standby" {
  command = plan

  variables {
    environment = "prod"
    cache       = { node_type = "cache.t4g.small", replicas = 1 }
    database = {
      instance_class        = "db.t4g.micro"
      multi_az              = false
      backup_retention_days = 7
      deletion_protection   = true
      final_snapshot        = true
    }
  }

  expect_failures = [var.database]
}

run "refuses_prod_without_deletion_protection" {
  command = plan

  variables {
    environment = "prod"
    cache       = { node_type = "cache.t4g.small", replicas = 1 }
    database = {
      instance_class        = "db.t4g.micro"
      multi_az              = true
      backup_retention_days = 7
      deletion_protection   = false
      final_snapshot        = true
    }
  }

  expect_failures = [var.database]
}

run "refuses_prod_without_a_final_snapshot" {
  command = plan

  variables {
    environment = "prod"
    cache       = { node_type = "cache.t4g.small", replicas = 1 }
    database = {
      instance_class        = "db.t4g.micro"
      multi_az              = true
      backup_retention_days = 7
      deletion_protection   = true
      final_snapshot        = false
    }
  }

  expect_failures = [var.database]
}

run "refuses_prod_without_a_week_of_backups" {
  command = plan

  variables {
    environment = "prod"
    cache       = { node_type = "cache.t4g.small", replicas = 1 }
    database = {
      instance_class        = "db.t4g.micro"
      multi_az              = true
      backup_retention_days = 6
      deletion_protection   = true
      final_snapshot        = true
    }
  }

  expect_failures = [var.database]
}

run "refuses_prod_without_a_replica" {
  command = plan

  variables {
    environment = "prod"
    cache       = { node_type = "cache.t4g.small", replicas = 0 }
    database = {
      instance_class        = "db.t4g.micro"
      multi_az              = true
      backup_retention_days = 7
      deletion_protection   = true
      final_snapshot        = true
    }
  }

  expect_failures = [var.cache]
}

run "refuses_malformed_node_type" {
  command = plan

  variables {
    cache = { node_type = "t4g.micro", replicas = 0 }
  }

  expect_failures = [var.cache]
}

run "refuses_version_of_redis" {
  command = plan

  variables {
    cache = { node_type = "cache.t4g.micro", replicas = 0, engine_version = "6.2" }
  }

  expect_failures = [var.cache]
}

run "refuses_too_many_replicas" {
  command = plan

  variables {
    cache = { node_type = "cache.t4g.micro", replicas = 6 }
  }

  expect_failures = [var.cache]
}

run "refuses_fraction_of_a_version" {
  command = plan

  variables {
    credentials_version = 1.5
  }

  expect_failures = [var.credentials_version]
}

run "refuses_short_password" {
  command = plan

  variables {
    passwords = { service = "short", migration = "second-random-password", cache = "third-random-password" }
  }

  expect_failures = [var.passwords]
}

run "refuses_two_sources" {
  command = plan

  variables {
    restore = { snapshot_id = "one", point_in_time = { source_instance_id = "two" } }
  }

  expect_failures = [var.restore]
}

run "refuses_point_in_time_without_source" {
  command = plan

  variables {
    restore = { point_in_time = { time = "2026-11-22T21:00:00Z" } }
  }

  expect_failures = [var.restore]
}

run "refuses_malformed_time" {
  command = plan

  variables {
    restore = { point_in_time = { source_instance_id = "one", time = "yesterday" } }
  }

  expect_failures = [var.restore]
}

run "refuses_retention_that_cloudwatch_lacks" {
  command = plan

  variables {
    log_retention_days = 2
  }

  expect_failures = [var.log_retention_days]
}

run "refuses_state_without_outputs" {
  command = plan

  override_data {
    target = data.terraform_remote_state.cluster
    values = { outputs = { cluster_name = "checked-cluster" } }
  }

  expect_failures = [data.terraform_remote_state.cluster]
}
