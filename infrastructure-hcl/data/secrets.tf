# No password is in the state or in a plan: the passwords are ephemeral, and go to Secrets Manager through write-only
# arguments. Terraform writes them only when credentials_version or an address changes.
locals {
  # The previous user can sign in until the next rotation, so pods that still run with its password lose no request.
  service_user = var.credentials_version % 2 == 1 ? "fastify_app_a" : "fastify_app_b"

  address = "${aws_db_instance.this.address}:${aws_db_instance.this.port}/${aws_db_instance.this.db_name}?sslmode=verify-full"

  secrets = {
    service   = { name = "${local.name}/fastify-app", description = "Database and cache of the service" }
    migration = { name = "${local.name}/fastify-app-migration", description = "Database of the service, as the owner of its tables" }
  }
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV_AWS_149: Secrets Manager encrypts with the key that AWS manages; a key of our own costs 1 USD a month
  #checkov:skip=CKV2_AWS_57: credentials_version rotates them, because the database's roles must change with them
  for_each = local.secrets

  name        = each.value.name
  description = each.value.description
  # The passwords can be generated again, and a name stays in use while a secret waits for its deletion.
  recovery_window_in_days = 0
}

# The addresses that the secrets contain: Terraform cannot compare them with a write-only value.
resource "terraform_data" "addresses" {
  input = [local.address, aws_elasticache_replication_group.this.primary_endpoint_address]
}

resource "aws_secretsmanager_secret_version" "service" {
  secret_id = aws_secretsmanager_secret.this["service"].id
  secret_string_wo = jsonencode({
    DATABASE_URL = "postgres://${local.service_user}:${var.passwords.service}@${local.address}"
    REDIS_URL    = "rediss://:${var.passwords.cache}@${aws_elasticache_replication_group.this.primary_endpoint_address}:${local.servers.cache.port}"
  })
  secret_string_wo_version = var.credentials_version

  lifecycle {
    replace_triggered_by = [terraform_data.addresses]
  }
}

resource "aws_secretsmanager_secret_version" "migration" {
  secret_id = aws_secretsmanager_secret.this["migration"].id
  secret_string_wo = jsonencode({
    DATABASE_URL = "postgres://fastify_migration:${var.passwords.migration}@${local.address}"
  })
  secret_string_wo_version = var.credentials_version

  lifecycle {
    replace_triggered_by = [terraform_data.addresses]
  }
}
