variable "name" {
  description = "Name of the VPC, also used in the names of its parts"
  type        = string
}

variable "cidr" {
  description = "IPv4 block of the VPC"
  type        = string
}

variable "azs" {
  description = "Availability zones"
  type        = list(string)
}

variable "enable_dns_support" {
  description = "Whether the VPC has a DNS resolver"
  type        = bool
}

variable "enable_dns_hostnames" {
  description = "Whether instances have DNS names"
  type        = bool
}

variable "public_subnets" {
  description = "IPv4 blocks of the public subnets"
  type        = list(string)
}

variable "public_subnet_tags" {
  description = "Tags of the public subnets"
  type        = map(string)
}

variable "private_subnets" {
  description = "IPv4 blocks of the private subnets"
  type        = list(string)
}

variable "private_subnet_tags" {
  description = "Tags of the private subnets"
  type        = map(string)
}

variable "map_public_ip_on_launch" {
  description = "Whether instances in public subnets get public addresses"
  type        = bool
}

variable "database_subnets" {
  description = "IPv4 blocks of the databases' subnets"
  type        = list(string)
}

# Only checked.
# tflint-ignore: terraform_unused_declarations
variable "create_database_subnet_route_table" {
  description = "Whether the databases' subnets have their own route table"
  type        = bool

  validation {
    condition     = var.create_database_subnet_route_table
    error_message = "The stand-in supports only create_database_subnet_route_table = true."
  }
}

# Only checked.
# tflint-ignore: terraform_unused_declarations
variable "create_database_subnet_group" {
  description = "Whether to create a subnet group for databases"
  type        = bool

  validation {
    condition     = !var.create_database_subnet_group
    error_message = "The stand-in supports only create_database_subnet_group = false."
  }
}

variable "enable_nat_gateway" {
  description = "Whether to create NAT gateways"
  type        = bool
}

variable "single_nat_gateway" {
  description = "Whether there is a single NAT gateway, and a single route table of the private subnets"
  type        = bool
}

variable "one_nat_gateway_per_az" {
  description = "Whether each zone has a NAT gateway and a route table"
  type        = bool
}

# Only checked.
# tflint-ignore: terraform_unused_declarations
variable "manage_default_security_group" {
  description = "Whether to manage the VPC's default security group"
  type        = bool

  validation {
    condition     = !var.manage_default_security_group
    error_message = "The stand-in supports only manage_default_security_group = false."
  }
}

# Only checked.
# tflint-ignore: terraform_unused_declarations
variable "manage_default_route_table" {
  description = "Whether to manage the VPC's default route table"
  type        = bool

  validation {
    condition     = !var.manage_default_route_table
    error_message = "The stand-in supports only manage_default_route_table = false."
  }
}

# Only checked.
# tflint-ignore: terraform_unused_declarations
variable "manage_default_network_acl" {
  description = "Whether to manage the VPC's default network ACL"
  type        = bool

  validation {
    condition     = !var.manage_default_network_acl
    error_message = "The stand-in supports only manage_default_network_acl = false."
  }
}

# Only checked.
# tflint-ignore: terraform_unused_declarations
variable "enable_flow_log" {
  description = "Whether to log connections"
  type        = bool

  validation {
    condition     = var.enable_flow_log
    error_message = "The stand-in supports only enable_flow_log = true."
  }
}

variable "flow_log_traffic_type" {
  description = "Which connections to log"
  type        = string
}

variable "flow_log_max_aggregation_interval" {
  description = "Seconds over which a record aggregates"
  type        = number
}

# Only checked.
# tflint-ignore: terraform_unused_declarations
variable "create_flow_log_cloudwatch_log_group" {
  description = "Whether to create the flow logs' log group"
  type        = bool

  validation {
    condition     = var.create_flow_log_cloudwatch_log_group
    error_message = "The stand-in supports only create_flow_log_cloudwatch_log_group = true."
  }
}

variable "flow_log_cloudwatch_log_group_name_prefix" {
  description = "Beginning of the log group's name"
  type        = string
}

variable "flow_log_cloudwatch_log_group_name_suffix" {
  description = "End of the log group's name"
  type        = string
}

variable "flow_log_cloudwatch_log_group_retention_in_days" {
  description = "Days for which CloudWatch keeps the flow logs"
  type        = number
}

# Only checked.
# tflint-ignore: terraform_unused_declarations
variable "create_flow_log_cloudwatch_iam_role" {
  description = "Whether to create the flow logs' role"
  type        = bool

  validation {
    condition     = var.create_flow_log_cloudwatch_iam_role
    error_message = "The stand-in supports only create_flow_log_cloudwatch_iam_role = true."
  }
}

variable "vpc_flow_log_iam_role_name" {
  description = "Name of the flow logs' role"
  type        = string
}

# Only checked.
# tflint-ignore: terraform_unused_declarations
variable "vpc_flow_log_iam_role_use_name_prefix" {
  description = "Whether to use the role's name as a prefix"
  type        = bool

  validation {
    condition     = !var.vpc_flow_log_iam_role_use_name_prefix
    error_message = "The stand-in supports only vpc_flow_log_iam_role_use_name_prefix = false."
  }
}

variable "vpc_flow_log_iam_policy_name" {
  description = "Name of the flow logs' policy"
  type        = string
}

# Only checked.
# tflint-ignore: terraform_unused_declarations
variable "vpc_flow_log_iam_policy_use_name_prefix" {
  description = "Whether to use the policy's name as a prefix"
  type        = bool

  validation {
    condition     = !var.vpc_flow_log_iam_policy_use_name_prefix
    error_message = "The stand-in supports only vpc_flow_log_iam_policy_use_name_prefix = false."
  }
}

variable "vpc_flow_log_permissions_boundary" {
  description = "Permissions boundary of the flow logs' role"
  type        = string
}

variable "flow_log_cloudwatch_iam_role_conditions" {
  description = "Conditions of the flow logs' role's trust policy"
  type        = list(object({ test = string, variable = string, values = list(string) }))
}
