locals {
  engine_major = split(".", var.database.engine_version)[0]
}

resource "aws_db_subnet_group" "this" {
  name        = local.name
  description = "Database of ${local.name}"
  subnet_ids  = local.subnet_ids

  lifecycle {
    precondition {
      condition     = length(distinct([for subnet in data.aws_subnet.this : subnet.availability_zone])) >= 2
      error_message = "The subnets are all in one availability zone; RDS needs two, also for a database in a single zone."
    }
  }
}

resource "aws_db_parameter_group" "this" {
  # A major version needs a new group, and a group cannot be deleted while an instance uses it.
  name_prefix = "${local.name}-postgres${local.engine_major}-"
  description = "Database of ${local.name}"
  family      = "postgres${local.engine_major}"

  # The default since version 15, but a default is not a promise: the server refuses connections without TLS.
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # Statements that take longer than a second, in milliseconds.
  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }

  lifecycle {
    create_before_destroy = true
  }
}

# RDS would create these groups itself, and keep their logs for ever.
resource "aws_cloudwatch_log_group" "database" {
  #checkov:skip=CKV_AWS_158: the logs contain no data of the tables, and CloudWatch encrypts them with its own key
  #checkov:skip=CKV_AWS_338: each environment chooses how long it needs its logs
  for_each = toset(["postgresql", "upgrade"])

  name              = "/aws/rds/instance/${local.name}/${each.key}"
  retention_in_days = var.log_retention_days
}

# The name of a final snapshot must not exist yet, also when the stack is applied and destroyed repeatedly.
resource "terraform_data" "created" {
  input            = plantimestamp()
  triggers_replace = [var.restore]

  lifecycle {
    ignore_changes = [input]
  }
}

resource "aws_db_instance" "this" {
  #checkov:skip=CKV_AWS_118: enhanced monitoring needs a role of its own, and CloudWatch has the metrics that alarms use
  #checkov:skip=CKV_AWS_161: the service signs in with passwords, which the stack rotates
  #checkov:skip=CKV_AWS_354: RDS encrypts them with the key that AWS manages; a key of our own costs 1 USD a month
  #checkov:skip=CKV_AWS_157: only prod has a standby in another zone
  #checkov:skip=CKV_AWS_293: only prod has deletion protection
  #checkov:skip=CKV_AWS_226: minor versions are upgraded automatically, below
  identifier     = local.name
  engine         = "postgres"
  engine_version = var.database.engine_version
  instance_class = var.database.instance_class

  storage_type          = "gp3"
  allocated_storage     = var.database.storage_gib
  max_allocated_storage = var.database.max_storage_gib
  storage_encrypted     = true

  db_name  = "fastify"
  username = "fastify_master"
  # RDS generates the password, keeps it in Secrets Manager and rotates it every week. Only the migration uses it.
  manage_master_user_password = true

  port                   = local.servers.database.port
  multi_az               = var.database.multi_az
  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [aws_security_group.this["database"].id]
  publicly_accessible    = false
  parameter_group_name   = aws_db_parameter_group.this.name

  # In UTC, when there is little load.
  backup_window            = "01:00-02:00"
  maintenance_window       = "tue:02:30-tue:03:30"
  backup_retention_period  = var.database.backup_retention_days
  copy_tags_to_snapshot    = true
  delete_automated_backups = !var.database.final_snapshot

  auto_minor_version_upgrade = true
  # Without it, RDS refuses a new engine_version; the version changes only with the variable.
  allow_major_version_upgrade = true
  apply_immediately           = true

  # Free with the minimum retention, in days.
  performance_insights_enabled          = true
  performance_insights_retention_period = 7
  enabled_cloudwatch_logs_exports       = keys(aws_cloudwatch_log_group.database)

  deletion_protection       = var.database.deletion_protection
  skip_final_snapshot       = !var.database.final_snapshot
  final_snapshot_identifier = "${local.name}-final-${formatdate("YYYYMMDD-hhmmss", terraform_data.created.output)}"

  snapshot_identifier = var.restore.snapshot_id

  dynamic "restore_to_point_in_time" {
    for_each = var.restore.point_in_time[*]

    content {
      source_db_instance_identifier = restore_to_point_in_time.value.source_instance_id
      source_dbi_resource_id        = restore_to_point_in_time.value.source_resource_id
      restore_time                  = restore_to_point_in_time.value.time
      use_latest_restorable_time    = restore_to_point_in_time.value.time == null ? true : null
    }
  }
}
