variable "environment" {
  description = "Name of the environment, for tags"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment must be 2 to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "cluster_state" {
  description = "Location of the cluster stack's state: type of backend, and its settings (bucket, key and region, or path)"
  type = object({
    backend = string
    config  = map(string)
  })

  validation {
    condition     = contains(["s3", "local"], var.cluster_state.backend)
    error_message = "cluster_state.backend must be s3 or local."
  }
}

variable "database_subnet_ids" {
  description = "Ids of existing subnets for the database and the cache, in at least two availability zones of the cluster's VPC. If null, those of the network stack, or the subnets of the nodes in an existing network"
  type        = list(string)
  default     = null

  validation {
    condition     = var.database_subnet_ids == null ? true : alltrue([for id in var.database_subnet_ids : can(regex("^subnet-([0-9a-f]{8}|[0-9a-f]{17})$", id))])
    error_message = "database_subnet_ids must be ids of subnets: subnet- followed by 8 or 17 hexadecimal digits."
  }

  validation {
    condition     = var.database_subnet_ids == null ? true : length(distinct(var.database_subnet_ids)) == length(var.database_subnet_ids) && length(var.database_subnet_ids) >= 2
    error_message = "database_subnet_ids needs at least two different subnets, in different availability zones."
  }
}

variable "database" {
  description = "Size and protection of the PostgreSQL database"
  type = object({
    instance_class = string
    # With a major version only, RDS chooses and upgrades the minor version.
    engine_version = optional(string, "17")
    storage_gib    = optional(number, 20)
    # Storage grows up to this size when it is nearly full.
    max_storage_gib = optional(number, 100)
    # A standby in another zone, to which RDS fails over.
    multi_az              = bool
    backup_retention_days = number
    deletion_protection   = bool
    # Whether a snapshot and the automated backups survive `make destroy`.
    final_snapshot = bool
  })

  validation {
    condition     = can(regex("^db\\.[a-z0-9]+\\.[a-z0-9]+$", var.database.instance_class))
    error_message = "database.instance_class must be a class of RDS instances, such as db.t4g.micro."
  }

  validation {
    condition     = can(regex("^1[5-9](\\.[0-9]+)?$", var.database.engine_version))
    error_message = "database.engine_version must be PostgreSQL 15 or later, such as 17 or 17.6: earlier versions accept connections without TLS by default."
  }

  validation {
    condition     = var.database.storage_gib >= 20 && var.database.max_storage_gib > var.database.storage_gib
    error_message = "database.storage_gib must be at least 20, the minimum of gp3, and less than database.max_storage_gib."
  }

  validation {
    condition     = var.database.backup_retention_days >= 1 && var.database.backup_retention_days <= 35
    error_message = "database.backup_retention_days must be 1 to 35: without backups, nothing can be restored to a point in time."
  }

  validation {
    condition     = var.environment != "prod" || (var.database.multi_az && var.database.deletion_protection && var.database.final_snapshot && var.database.backup_retention_days >= 7)
    error_message = "In prod, database requires multi_az, deletion_protection, final_snapshot and backup_retention_days of at least 7."
  }
}

variable "cache" {
  description = "Size of the Valkey cache, and its replicas in other zones"
  type = object({
    node_type      = string
    engine_version = optional(string, "8.0")
    replicas       = number
  })

  validation {
    condition     = can(regex("^cache\\.[a-z0-9]+\\.[a-z0-9]+$", var.cache.node_type))
    error_message = "cache.node_type must be a type of ElastiCache nodes, such as cache.t4g.micro."
  }

  validation {
    condition     = can(regex("^[78]\\.[0-9]+$", var.cache.engine_version))
    error_message = "cache.engine_version must be a version of Valkey, such as 8.0."
  }

  validation {
    condition     = var.cache.replicas >= 0 && var.cache.replicas <= 5
    error_message = "cache.replicas must be 0 to 5."
  }

  validation {
    condition     = var.environment != "prod" || var.cache.replicas >= 1
    error_message = "In prod, cache requires at least one replica."
  }
}

variable "credentials_version" {
  description = "Increase it by one to rotate the passwords of the service and of its migration, and the token of the cache"
  type        = number
  default     = 1

  validation {
    condition     = var.credentials_version >= 1 && floor(var.credentials_version) == var.credentials_version
    error_message = "credentials_version must be a whole number from 1."
  }
}

variable "passwords" {
  description = "New passwords of the service and of its migration, and the new token of the cache. Random at each run; `make` generates them"
  type = object({
    service   = string
    migration = string
    cache     = string
  })
  ephemeral = true
  sensitive = true

  validation {
    # They are parts of URLs, and ElastiCache accepts tokens of 16 to 128 characters.
    condition     = alltrue([for password in values(var.passwords) : can(regex("^[A-Za-z0-9_-]{16,128}$", password))])
    error_message = "passwords must have 16 to 128 letters, digits, underscores and dashes each."
  }
}

variable "restore" {
  description = "What the database is created from, instead of empty: a snapshot, or another instance at a point in time. A change replaces the database, so keep the value afterwards"
  type = object({
    snapshot_id = optional(string)
    point_in_time = optional(object({
      # An instance that exists.
      source_instance_id = optional(string)
      # The resource id of an instance, such as db-ABCDEFGHIJKLMNOPQRSTUVWXYZ. The instance may have been deleted, if its
      # automated backups remain.
      source_resource_id = optional(string)
      # In UTC, such as 2026-11-22T21:00:00Z. If null, the latest time.
      time = optional(string)
    }))
  })
  default = {}

  validation {
    condition     = var.restore.snapshot_id == null || var.restore.point_in_time == null
    error_message = "restore can contain either snapshot_id or point_in_time."
  }

  validation {
    condition     = var.restore.point_in_time == null ? true : length(compact([var.restore.point_in_time.source_instance_id, var.restore.point_in_time.source_resource_id])) == 1
    error_message = "restore.point_in_time needs either source_instance_id or source_resource_id."
  }

  validation {
    condition     = try(var.restore.point_in_time.time, null) == null ? true : can(formatdate("YYYY", var.restore.point_in_time.time))
    error_message = "restore.point_in_time.time must be a time in UTC, such as 2026-11-22T21:00:00Z."
  }
}

variable "log_retention_days" {
  description = "Days for which CloudWatch keeps the database's logs"
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days must be a period that CloudWatch Logs supports: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731."
  }
}
