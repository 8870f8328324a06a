# Security properties of the database, the cache and their secrets.

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

run "everything_is_encrypted" {
  command = plan

  assert {
    condition     = aws_db_instance.this.storage_encrypted && aws_db_instance.this.storage_type == "gp3"
    error_message = "The database's storage must be encrypted."
  }

  assert {
    condition     = one([for parameter in aws_db_parameter_group.this.parameter : parameter.value if parameter.name == "rds.force_ssl"]) == "1"
    error_message = "The database must refuse connections without TLS."
  }

  assert {
    condition = (
      tobool(aws_elasticache_replication_group.this.at_rest_encryption_enabled) &&
      aws_elasticache_replication_group.this.transit_encryption_enabled &&
      aws_elasticache_replication_group.this.transit_encryption_mode == "required"
    )
    error_message = "The cache must encrypt its data and refuse connections without TLS."
  }
}

run "only_nodes_reach_the_servers" {
  command = plan

  assert {
    condition     = !aws_db_instance.this.publicly_accessible
    error_message = "The database must have no public address."
  }

  assert {
    condition = alltrue([
      for name, port in { database = 5432, cache = 6379 } : (
        aws_vpc_security_group_ingress_rule.nodes[name].referenced_security_group_id == "sg-0123456789abcdef0" &&
        aws_vpc_security_group_ingress_rule.nodes[name].cidr_ipv4 == null &&
        aws_vpc_security_group_ingress_rule.nodes[name].from_port == port &&
        aws_vpc_security_group_ingress_rule.nodes[name].to_port == port
      )
    ])
    error_message = "Each server must admit only the nodes' security group, on its own port."
  }

  assert {
    condition     = toset(aws_db_subnet_group.this.subnet_ids) == toset(["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"])
    error_message = "Without subnets of its own, the database must be in those of the nodes."
  }
}

run "passwords_stay_out_of_the_state" {
  command = plan

  assert {
    condition     = aws_db_instance.this.manage_master_user_password && aws_db_instance.this.password == null
    error_message = "RDS must generate the master password."
  }

  assert {
    condition     = aws_elasticache_replication_group.this.auth_token == null
    error_message = "The cache's token would be in the state."
  }

  assert {
    condition = alltrue([
      for version in [aws_secretsmanager_secret_version.service, aws_secretsmanager_secret_version.migration] :
      version.secret_string == null && version.secret_string_wo == null && version.secret_string_wo_version == 1
    ])
    error_message = "The secrets must be written through write-only arguments."
  }
}

run "a_rotation_uses_the_other_user" {
  command = plan

  variables {
    credentials_version = 2
  }

  assert {
    condition     = local.service_user == "fastify_app_b" && aws_secretsmanager_secret_version.service.secret_string_wo_version == 2
    error_message = "The next version must use the other user, so that the previous one still works."
  }
}

run "subnets_of_its_own" {
  command = plan

  variables {
    database_subnet_ids = ["subnet-0123456789abcdef1", "subnet-0123456789abcdef0"]
  }

  assert {
    condition     = output.database.cidrs == tolist(["10.0.32.0/19", "10.0.64.0/19"])
    error_message = "The output must contain the ranges of the subnets, for the service's NetworkPolicy."
  }
}

run "prod_is_protected" {
  command = plan

  variables {
    environment = "prod"
    database = {
      instance_class        = "db.t4g.medium"
      multi_az              = true
      backup_retention_days = 14
      deletion_protection   = true
      final_snapshot        = true
    }
    cache = { node_type = "cache.t4g.small", replicas = 1 }
  }

  assert {
    condition = (
      aws_db_instance.this.multi_az && aws_db_instance.this.deletion_protection && !aws_db_instance.this.skip_final_snapshot &&
      !aws_db_instance.this.delete_automated_backups && aws_db_instance.this.auto_minor_version_upgrade
    )
    error_message = "In prod, the database must have a standby, and must not be deleted without a snapshot."
  }

  assert {
    condition     = aws_elasticache_replication_group.this.automatic_failover_enabled && aws_elasticache_replication_group.this.num_cache_clusters == 2
    error_message = "In prod, the cache must fail over to a replica."
  }
}

run "it_restores_a_snapshot" {
  command = plan

  variables {
    restore = { snapshot_id = "before-the-change" }
  }

  assert {
    condition     = aws_db_instance.this.snapshot_identifier == "before-the-change"
    error_message = "The database must be created from the snapshot."
  }
}

run "it_restores_a_point_in_time" {
  command = plan

  variables {
    restore = { point_in_time = { source_instance_id = "another", time = "2026-11-22T21:00:00Z" } }
  }

  assert {
    condition = (
      aws_db_instance.this.restore_to_point_in_time[0].source_db_instance_identifier == "another" &&
      aws_db_instance.this.restore_to_point_in_time[0].restore_time == "2026-11-22T21:00:00Z"
    )
    error_message = "The database must be created from the instance as it was at that time."
  }
}

run "it_restores_a_deleted_database" {
  command = plan

  variables {
    restore = { point_in_time = { source_resource_id = "db-ABCDEFGHIJKLMNOPQRSTUVWXYZ" } }
  }

  assert {
    condition = (
      aws_db_instance.this.restore_to_point_in_time[0].source_dbi_resource_id == "db-ABCDEFGHIJKLMNOPQRSTUVWXYZ" &&
      aws_db_instance.this.restore_to_point_in_time[0].use_latest_restorable_time
    )
    error_message = "The database must be created from the automated backups, as it was at the end."
  }
}

run "subnets_in_one_zone_are_refused" {
  command = plan

  override_data {
    target = data.aws_subnet.this["subnet-0123456789abcdef1"]
    values = { vpc_id = "vpc-0123456789abcdef0", cidr_block = "10.0.64.0/19", availability_zone = "eu-central-1a" }
  }

  expect_failures = [aws_db_subnet_group.this]
}

run "a_subnet_of_another_network_is_refused" {
  command = plan

  override_data {
    target = data.aws_subnet.this["subnet-0123456789abcdef1"]
    values = { vpc_id = "vpc-00000000000000000", cidr_block = "10.0.64.0/19", availability_zone = "eu-central-1b" }
  }

  expect_failures = [data.aws_subnet.this["subnet-0123456789abcdef1"]]
}
