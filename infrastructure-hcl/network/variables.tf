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
  description = "Name of the EKS cluster in this network, also used in the names and tags of the network"
  type        = string
  default     = "fastify-eks-cluster"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}$", var.cluster_name))
    error_message = "cluster_name must be at most 29 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "cidr" {
  description = "IPv4 block of the VPC. Choose one that no network uses to which you may connect the VPC later"
  type        = string
  default     = "10.0.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(cidrsubnet(var.cidr, 0, 0) == var.cidr, false)
    error_message = "cidr must be an IPv4 block that begins with its first address, such as 10.0.0.0/16."
  }

  validation {
    condition     = can(regex("/(1[6-9]|20)$", var.cidr))
    error_message = "cidr must be between /16, the largest that a VPC can have, and /20: each pod has an address."
  }

  validation {
    condition     = can(regex("^(10|172\\.(1[6-9]|2[0-9]|3[01])|192\\.168)\\.", var.cidr))
    error_message = "cidr must be in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16: other addresses belong to somebody on the internet."
  }
}

variable "zones" {
  description = "Two or three availability zones. You can append the third one later; any other change replaces subnets"
  type        = list(string)

  validation {
    condition     = contains([2, 3], length(distinct(var.zones))) && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones must be two or three different availability zones."
  }

  validation {
    condition     = alltrue([for zone in var.zones : can(regex("^${var.region}[a-z]$", zone))])
    error_message = "zones must be availability zones of ${var.region}, such as ${var.region}a."
  }
}

variable "nat" {
  description = "How the private subnets reach the internet: one NAT gateway (gateway), one in each zone (gateway-per-zone), or one small EC2 instance (instance)"
  type        = string

  validation {
    condition     = contains(["gateway", "gateway-per-zone", "instance"], var.nat)
    error_message = "nat must be gateway, gateway-per-zone or instance."
  }
}

variable "nat_instance_type" {
  description = "Type of the NAT instance, with a Graviton processor"
  type        = string
  default     = "t4g.nano"

  validation {
    condition     = can(regex("^t4g\\.[a-z0-9]+$", var.nat_instance_type))
    error_message = "nat_instance_type must be a t4g type, such as t4g.nano."
  }
}

variable "interface_endpoints" {
  description = "AWS services that the private subnets reach without NAT, each at the price of an interface endpoint in every zone (docs/infrastructure.md)"
  type        = set(string)
  default     = []

  validation {
    condition = length(setsubtract(var.interface_endpoints, [
      "autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "elasticloadbalancing", "logs", "secretsmanager", "sqs", "ssm", "sts",
    ])) == 0
    error_message = "interface_endpoints can contain only services that the cluster uses: autoscaling, ec2, ecr.api, ecr.dkr, eks, eks-auth, elasticloadbalancing, logs, secretsmanager, sqs, ssm and sts."
  }
}

variable "flow_logs" {
  description = "Which connections the VPC logs (REJECT, ACCEPT or ALL), and the days for which CloudWatch keeps the logs"
  type = object({
    traffic        = optional(string, "REJECT")
    retention_days = optional(number, 7)
  })
  default = {}

  validation {
    condition     = contains(["REJECT", "ACCEPT", "ALL"], var.flow_logs.traffic)
    error_message = "flow_logs.traffic must be REJECT, ACCEPT or ALL."
  }

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.flow_logs.retention_days)
    error_message = "flow_logs.retention_days must be a period that CloudWatch Logs supports: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731."
  }
}

variable "permissions_boundary" {
  description = "Name of the permissions boundary of the flow logs' role, which the bootstrap stack creates. Can be null if only administrators apply this stack"
  type        = string
  default     = null
}
