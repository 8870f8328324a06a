variable "environment" {
  description = "Name of the environment, for tags"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment must be 2 to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "region" {
  description = "AWS region of the VPC"
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the code of an AWS region, such as eu-central-1."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster, also used in the names of its roles and queue and in its tags"
  type        = string
  default     = "fastify-eks-cluster"

  validation {
    # The module uses <name>-cluster- as a name prefix for the cluster's role. IAM limits name prefixes to 38
    # characters.
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}$", var.cluster_name))
    error_message = "cluster_name must be at most 29 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes. Must be in standard support on EKS"
  type        = string
  default     = "1.35"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version must be a minor version, such as 1.35; EKS chooses the patch."
  }
}

variable "network" {
  description = "Where the network comes from: the network stack (stack), or the variables vpc_id, private_subnet_ids and public_subnet_ids (existing)"
  type        = string

  validation {
    condition     = contains(["stack", "existing"], var.network)
    error_message = "network must be stack or existing."
  }
}

variable "network_state" {
  description = "With network = stack, the location of the network stack's state: type of backend, and its settings (bucket, key and region, or path)"
  type = object({
    backend = string
    config  = map(string)
  })
  default = null

  validation {
    condition     = var.network != "stack" || var.network_state != null
    error_message = "network_state must be set with network = \"stack\"; `make` does so."
  }

  validation {
    condition     = var.network_state == null || try(contains(["s3", "local"], var.network_state.backend), false)
    error_message = "network_state.backend must be s3 or local."
  }
}

variable "vpc_id" {
  description = "With network = existing, the id of the VPC"
  type        = string
  default     = null

  validation {
    condition     = var.network != "existing" || can(regex("^vpc-([0-9a-f]{8}|[0-9a-f]{17})$", var.vpc_id))
    error_message = "vpc_id must be the id of a VPC: vpc- followed by 8 or 17 hexadecimal digits."
  }
}

variable "private_subnet_ids" {
  description = "With network = existing, the ids of the subnets for nodes, pods and the control plane's network interfaces, in at least two availability zones"
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.private_subnet_ids : can(regex("^subnet-([0-9a-f]{8}|[0-9a-f]{17})$", id))])
    error_message = "private_subnet_ids must be ids of subnets: subnet- followed by 8 or 17 hexadecimal digits."
  }

  validation {
    condition     = length(distinct(var.private_subnet_ids)) == length(var.private_subnet_ids)
    error_message = "private_subnet_ids contains a subnet twice."
  }

  validation {
    condition     = var.network != "existing" || length(var.private_subnet_ids) >= 2
    error_message = "private_subnet_ids needs at least two subnets, in different availability zones."
  }
}

variable "public_subnet_ids" {
  description = "With network = existing, the ids of the subnets for internet-facing load balancers, in at least two availability zones"
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.public_subnet_ids : can(regex("^subnet-([0-9a-f]{8}|[0-9a-f]{17})$", id))])
    error_message = "public_subnet_ids must be ids of subnets: subnet- followed by 8 or 17 hexadecimal digits."
  }

  validation {
    condition     = length(distinct(var.public_subnet_ids)) == length(var.public_subnet_ids)
    error_message = "public_subnet_ids contains a subnet twice."
  }

  validation {
    condition     = var.network != "existing" || length(var.public_subnet_ids) >= 2
    error_message = "public_subnet_ids needs at least two subnets, in different availability zones."
  }

  validation {
    condition     = length(setintersection(var.public_subnet_ids, var.private_subnet_ids)) == 0
    error_message = "public_subnet_ids and private_subnet_ids overlap: a subnet is either public or private."
  }
}

variable "endpoint_public_access_cidrs" {
  description = "Networks that can reach the public API endpoint. If empty, the cluster has only a private endpoint"
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.endpoint_public_access_cidrs : can(cidrnetmask(cidr))])
    error_message = "endpoint_public_access_cidrs must be IPv4 networks, such as 203.0.113.0/24."
  }

  validation {
    condition     = !anytrue([for cidr in var.endpoint_public_access_cidrs : endswith(cidr, "/0")])
    error_message = "endpoint_public_access_cidrs must not open the API endpoint to the whole internet."
  }
}

variable "secrets_key" {
  description = "Alias of the KMS key that encrypts Kubernetes Secrets, which the bootstrap stack creates. If null, the cluster stack creates a key"
  type        = string
  default     = null

  validation {
    condition     = var.secrets_key == null || can(regex("^alias/[A-Za-z0-9/_-]+$", var.secrets_key))
    error_message = "secrets_key must be the alias of a key, such as alias/fastify-eks-secrets."
  }
}

variable "access" {
  description = "IAM principals with access to the cluster: admins, deployers of the service, planners (who can read Secrets in the namespaces of the platform's releases, because Helm stores releases there), readers"
  type = object({
    admins    = list(string)
    deployers = optional(list(string), [])
    planners  = optional(list(string), [])
    readers   = optional(list(string), [])
  })

  validation {
    condition     = length(var.access.admins) > 0
    error_message = "access.admins is empty: no one, not even the cluster's creator, could administer the cluster."
  }

  validation {
    condition = alltrue([
      for arn in flatten(values(var.access)) :
      can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[\\w+=,.@/-]+$", arn))
    ])
    error_message = "access must contain only ARNs of IAM roles and users, not assumed-role ARNs of STS."
  }

  validation {
    condition     = length(distinct(flatten(values(var.access)))) == length(flatten(values(var.access)))
    error_message = "access contains a principal twice, but EKS allows only one access entry per principal."
  }
}

variable "permissions_boundary" {
  description = "Name of the permissions boundary of the cluster's roles, which the bootstrap stack creates. Can be null if only administrators apply this stack"
  type        = string
  default     = null
}

variable "system_nodes" {
  description = "Managed node group for pods that must not run on Karpenter's nodes, such as Karpenter itself"
  type = object({
    instance_type = optional(string, "t4g.small")
    ami_type      = optional(string, "AL2023_ARM_64_STANDARD")
    # 0 lets the alarms stack put the nodes to sleep. EKS itself never goes below the desired size.
    min_size     = optional(number, 2)
    max_size     = optional(number, 3)
    desired_size = optional(number, 2)
    disk_gib     = optional(number, 20)
    # If null, EKS uses the newest release at creation. docs/infrastructure.md explains how to find newer ones.
    ami_release_version = optional(string)
  })
  default = {}

  validation {
    condition = (
      var.system_nodes.min_size >= 0 &&
      var.system_nodes.desired_size >= 1 &&
      var.system_nodes.min_size <= var.system_nodes.desired_size &&
      var.system_nodes.desired_size <= var.system_nodes.max_size
    )
    error_message = "system_nodes requires 0 <= min_size <= desired_size <= max_size, and 1 <= desired_size."
  }

  validation {
    condition     = contains(["AL2023_ARM_64_STANDARD", "AL2023_x86_64_STANDARD"], var.system_nodes.ami_type)
    error_message = "system_nodes.ami_type must be AL2023_ARM_64_STANDARD or AL2023_x86_64_STANDARD."
  }

  validation {
    # Names of Graviton types have a g after the generation, such as t4g.small.
    condition     = can(regex("^[a-z]+[0-9]+g", var.system_nodes.instance_type)) == strcontains(var.system_nodes.ami_type, "ARM_64")
    error_message = "system_nodes.instance_type and system_nodes.ami_type must have the same architecture: t4g.small is ARM64 (Graviton), t3.small is x86."
  }
}

variable "log_retention_days" {
  description = "Days for which CloudWatch keeps the control plane's logs"
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days must be a period that CloudWatch Logs supports: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731."
  }
}

variable "log_types" {
  description = "Types of logs that the control plane writes to CloudWatch"
  type        = set(string)
  default     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  validation {
    condition     = length(setsubtract(var.log_types, ["api", "audit", "authenticator", "controllerManager", "scheduler"])) == 0
    error_message = "log_types can contain only api, audit, authenticator, controllerManager and scheduler."
  }
}

variable "images" {
  description = "The service's ECR repository: number of tagged images to keep, and whether a destroy can delete images"
  type = object({
    kept         = optional(number, 5)
    force_delete = optional(bool, false)
  })
  default = {}

  validation {
    condition     = var.images.kept >= 2 && floor(var.images.kept) == var.images.kept
    error_message = "images.kept must be a whole number of at least 2: the running image and the one to roll back to."
  }
}

variable "deletion_protection" {
  description = "Whether EKS refuses to delete the cluster. Requires version 6 of the AWS provider"
  type        = bool
  default     = false
}

variable "metrics_server_addon" {
  description = "Whether to install metrics-server as an EKS add-on. If false, the platform stack installs it"
  type        = bool
  default     = true
}

variable "container_insights" {
  description = "Whether to install CloudWatch's agent on every node, for metrics of nodes, pods and containers in CloudWatch. docs/cost.md has its price"
  type        = bool
  default     = false
}

variable "cloudwatch" {
  description = "Whether to create a log group for the pods' logs, with its retention in days, and whether pods can send traces to X-Ray. The platform stack decides whether they do"
  type = object({
    logs               = optional(bool, false)
    log_retention_days = optional(number, 30)
    traces             = optional(bool, false)
  })
  default = {}

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.cloudwatch.log_retention_days)
    error_message = "cloudwatch.log_retention_days must be a period that CloudWatch Logs supports: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731."
  }
}
