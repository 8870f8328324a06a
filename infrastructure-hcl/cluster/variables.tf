variable "environment" {
  description = "Name of the environment, for tags"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment must be 2 to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "region" {
  description = "AWS region the VPC is in"
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be a region's code, such as eu-central-1."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster; part of the names of its roles, queue and tags"
  type        = string
  default     = "fastify-eks-cluster"

  validation {
    # The module names the cluster's role <name>-cluster- and lets IAM add 26 characters; prefixes end at 38.
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}$", var.cluster_name))
    error_message = "cluster_name must be at most 29 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes, one that EKS has in standard support"
  type        = string
  default     = "1.35"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version must be a minor version, such as 1.35; EKS chooses the patch."
  }
}

variable "vpc_id" {
  description = "The existing VPC"
  type        = string

  validation {
    condition     = can(regex("^vpc-([0-9a-f]{8}|[0-9a-f]{17})$", var.vpc_id))
    error_message = "vpc_id must be the id of a VPC: vpc- and 8 or 17 hexadecimal digits."
  }
}

variable "private_subnet_ids" {
  description = "Existing subnets for nodes, pods and the control plane's interfaces, in at least two availability zones"
  type        = list(string)

  validation {
    condition     = alltrue([for id in var.private_subnet_ids : can(regex("^subnet-([0-9a-f]{8}|[0-9a-f]{17})$", id))])
    error_message = "private_subnet_ids must be ids of subnets: subnet- and 8 or 17 hexadecimal digits."
  }

  validation {
    condition     = length(distinct(var.private_subnet_ids)) == length(var.private_subnet_ids)
    error_message = "private_subnet_ids names a subnet twice."
  }

  validation {
    condition     = length(var.private_subnet_ids) >= 2
    error_message = "private_subnet_ids needs at least two subnets, in different availability zones."
  }
}

variable "public_subnet_ids" {
  description = "Existing subnets for internet-facing load balancers, in at least two availability zones"
  type        = list(string)

  validation {
    condition     = alltrue([for id in var.public_subnet_ids : can(regex("^subnet-([0-9a-f]{8}|[0-9a-f]{17})$", id))])
    error_message = "public_subnet_ids must be ids of subnets: subnet- and 8 or 17 hexadecimal digits."
  }

  validation {
    condition     = length(distinct(var.public_subnet_ids)) == length(var.public_subnet_ids)
    error_message = "public_subnet_ids names a subnet twice."
  }

  validation {
    condition     = length(var.public_subnet_ids) >= 2
    error_message = "public_subnet_ids needs at least two subnets, in different availability zones."
  }

  validation {
    condition     = length(setintersection(var.public_subnet_ids, var.private_subnet_ids)) == 0
    error_message = "A subnet is either public or private: public_subnet_ids and private_subnet_ids overlap."
  }
}

variable "endpoint_public_access_cidrs" {
  description = "Networks that may reach the public API endpoint; with none there is only the private endpoint"
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
  description = "Alias of the KMS key that encrypts Kubernetes' Secrets, as bootstrap creates it; without one, the cluster gets a key of its own"
  type        = string
  default     = null

  validation {
    condition     = var.secrets_key == null || can(regex("^alias/[A-Za-z0-9/_-]+$", var.secrets_key))
    error_message = "secrets_key must be a key's alias, such as alias/fastify-eks-secrets."
  }
}

variable "access" {
  description = "IAM principals by what they may do in the cluster: administer it, deploy the service, plan (reads Secrets where Helm keeps the platform's releases), read"
  type = object({
    admins    = list(string)
    deployers = optional(list(string), [])
    planners  = optional(list(string), [])
    readers   = optional(list(string), [])
  })

  validation {
    condition     = length(var.access.admins) > 0
    error_message = "access.admins is empty: nobody could administer the cluster, its creator included."
  }

  validation {
    condition = alltrue([
      for arn in flatten(values(var.access)) :
      can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[\\w+=,.@/-]+$", arn))
    ])
    error_message = "access holds something other than the ARN of an IAM role or user (an assumed-role ARN of STS is not one)."
  }

  validation {
    condition     = length(distinct(flatten(values(var.access)))) == length(flatten(values(var.access)))
    error_message = "access names a principal twice; EKS takes one access entry for each."
  }
}

variable "permissions_boundary" {
  description = "Name of the IAM policy no role of the cluster may exceed, as bootstrap creates it; none where nobody but administrators applies"
  type        = string
  default     = null
}

variable "system_nodes" {
  description = "The managed node group for what must not run on nodes that Karpenter manages, Karpenter first of all"
  type = object({
    instance_type = optional(string, "t4g.small")
    min_size      = optional(number, 2)
    max_size      = optional(number, 3)
    desired_size  = optional(number, 2)
    disk_gib      = optional(number, 20)
    # The newest at creation unless given; `aws ssm get-parameter` tells of newer ones (docs/infrastructure.md).
    ami_release_version = optional(string)
  })
  default = {}

  validation {
    condition = (
      var.system_nodes.min_size >= 1 &&
      var.system_nodes.min_size <= var.system_nodes.desired_size &&
      var.system_nodes.desired_size <= var.system_nodes.max_size
    )
    error_message = "system_nodes needs 1 <= min_size <= desired_size <= max_size."
  }

  validation {
    condition     = can(regex("^[a-z][0-9]+g[a-z]*\\.", var.system_nodes.instance_type))
    error_message = "system_nodes.instance_type must be an ARM64 (Graviton) type, such as t4g.small."
  }
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the control plane's logs"
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days must be a period CloudWatch Logs offers: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731."
  }
}

variable "log_types" {
  description = "Logs the control plane writes to CloudWatch"
  type        = set(string)
  default     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  validation {
    condition     = length(setsubtract(var.log_types, ["api", "audit", "authenticator", "controllerManager", "scheduler"])) == 0
    error_message = "log_types must be of api, audit, authenticator, controllerManager and scheduler."
  }
}

variable "images" {
  description = "The service's ECR repository: how many tagged images it keeps, and whether destroy may delete images"
  type = object({
    kept         = optional(number, 5)
    force_delete = optional(bool, false)
  })
  default = {}

  validation {
    condition     = var.images.kept >= 2 && floor(var.images.kept) == var.images.kept
    error_message = "images.kept must be a whole number of at least 2: the image that runs and the one to roll back to."
  }
}

variable "deletion_protection" {
  description = "Whether EKS refuses to delete the cluster; needs a provider of version 6"
  type        = bool
  default     = false
}

variable "metrics_server_addon" {
  description = "Whether metrics-server comes as an EKS add-on; the platform stack installs it otherwise"
  type        = bool
  default     = true
}
