variable "environment" {
  description = "Name of the environment, for tags"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment must be 2 to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "region" {
  description = "AWS region of the environment"
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the code of an AWS region, such as eu-central-1."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster, with which the names of the alarms, topic, schedules and roles begin"
  type        = string
  default     = "fastify-eks-cluster"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}$", var.cluster_name))
    error_message = "cluster_name must be at most 29 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "states" {
  description = "Where to find the states of the environment's other stacks, by the stack's name: type of backend, and its settings. A stack that is missing has no alarms. The scripts list the stacks that are applied"
  type = map(object({
    backend = string
    config  = map(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for state in var.states : contains(["s3", "local"], state.backend)])
    error_message = "states: each backend must be s3 or local."
  }
}

variable "permissions_boundary" {
  description = "Name of the permissions boundary of the schedules' roles, which the bootstrap stack creates. Can be null if only administrators apply this stack"
  type        = string
  default     = null
}

variable "topic_key" {
  description = "Alias of the KMS key that encrypts the notifications, which the bootstrap stack creates. If null, this stack creates a key"
  type        = string
  default     = null

  validation {
    condition     = var.topic_key == null || can(regex("^alias/[A-Za-z0-9/_-]+$", var.topic_key)) && !startswith(coalesce(var.topic_key, "-"), "alias/aws/")
    error_message = "topic_key must be the alias of a customer managed key, such as alias/fastify-eks-alarms: CloudWatch cannot use the keys below alias/aws/."
  }
}

variable "emails" {
  description = "E-mail addresses that receive the notifications. AWS sends each of them a link first, and nothing else until it is followed"
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "emails contains an invalid e-mail address."
  }
}

variable "webhook_url" {
  description = "URL that receives the notifications by POST, and confirms the subscription by itself, as on-call services do. It is stored in the state"
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.webhook_url == null || can(regex("^https://[^@/\\s]+/\\S*$", var.webhook_url))
    error_message = "webhook_url must begin with https://, and contain a path but no user name."
  }
}

variable "documentation_url" {
  description = "Address of docs/alarms.md on the web. Each alarm's description links to its section there"
  type        = string
  default     = "https://github.com/example/fastify-eks/blob/main/docs/alarms.md"

  validation {
    condition     = startswith(var.documentation_url, "https://")
    error_message = "documentation_url must begin with https://."
  }
}

variable "database_connections" {
  description = "Most connections to the database that are expected: (maxReplicas + surge of a rollout) x DATABASE_POOL_SIZE + 1 for the migration. Must be below what the instance accepts, which is about 80 for db.t4g.micro and 180 for db.t4g.small"
  type        = number
  default     = 66

  validation {
    condition     = var.database_connections >= 1 && floor(var.database_connections) == var.database_connections
    error_message = "database_connections must be a whole number of at least 1."
  }
}

variable "daily_budget_usd" {
  description = "Cost of a day in US dollars above which AWS Budgets notifies. If null, only the bootstrap stack's monthly budget applies"
  type        = number
  default     = null

  validation {
    condition     = var.daily_budget_usd == null || coalesce(var.daily_budget_usd, 1) > 0
    error_message = "daily_budget_usd must be greater than 0."
  }
}

variable "sleep" {
  description = "When the environment sleeps: from `from` on the given days until `until` on the next of these days. Nodes are terminated and the database is stopped. If null, it never sleeps"
  type = object({
    from     = string
    until    = string
    days     = optional(string, "MON-FRI")
    timezone = string
  })
  default = null

  validation {
    condition     = var.sleep == null || alltrue([for time in [try(var.sleep.from, ""), try(var.sleep.until, "")] : can(regex("^([01][0-9]|2[0-3]):[0-5][0-9]$", time))])
    error_message = "sleep.from and sleep.until must be times, such as 20:00."
  }

  validation {
    # The later steps of both procedures must be on the same day as the first.
    condition     = var.sleep == null || alltrue([for time in [try(var.sleep.from, ""), try(var.sleep.until, "")] : try(tonumber(replace(time, ":", "")), 0) < 2300])
    error_message = "sleep.from and sleep.until must be before 23:00: both take up to an hour."
  }

  validation {
    condition     = var.sleep == null || can(regex("^(MON|TUE|WED|THU|FRI|SAT|SUN)([-,](MON|TUE|WED|THU|FRI|SAT|SUN))*$", try(var.sleep.days, "")))
    error_message = "sleep.days must be days of the week, such as MON-FRI."
  }

  validation {
    condition     = var.sleep == null || can(regex("^[A-Z][A-Za-z_]+(/[A-Z][A-Za-z_]+)*$", try(var.sleep.timezone, "")))
    error_message = "sleep.timezone must be a name of the IANA database, such as Europe/Berlin."
  }
}
