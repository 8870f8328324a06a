variable "name" {
  description = "Name of the cluster"
  type        = string
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes"
  type        = string
}

variable "vpc_id" {
  description = "VPC of the security groups"
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the control plane's interfaces and of the nodes"
  type        = list(string)
}

variable "endpoint_private_access" {
  description = "Whether the API has a private endpoint"
  type        = bool
}

variable "endpoint_public_access" {
  description = "Whether the API has a public endpoint"
  type        = bool
}

variable "endpoint_public_access_cidrs" {
  description = "Networks that can reach the public endpoint"
  type        = list(string)

  validation {
    condition     = try(length(var.endpoint_public_access_cidrs) > 0, true)
    error_message = "EKS refuses an empty list; null leaves the networks as they are."
  }
}

variable "upgrade_policy" {
  description = "Policy for the end of standard support"
  type        = object({ support_type = optional(string) })
}

variable "encryption_config" {
  description = "Resources to encrypt, and the KMS key if the module does not create one"
  type = object({
    provider_key_arn = optional(string)
    resources        = optional(list(string), ["secrets"])
  })
}

variable "create_kms_key" {
  description = "Whether to create a KMS key"
  type        = bool
}

variable "enable_kms_key_rotation" {
  description = "Whether to rotate the key every year"
  type        = bool
}

variable "kms_key_administrators" {
  description = "Principals that can administer the key"
  type        = list(string)
}

variable "iam_role_permissions_boundary" {
  description = "Permissions boundary of the cluster's role"
  type        = string
}

variable "enabled_log_types" {
  description = "Types of control plane logs to enable"
  type        = list(string)
}

variable "cloudwatch_log_group_retention_in_days" {
  description = "Retention of the logs in days"
  type        = number
}

variable "authentication_mode" {
  description = "Authentication mode: access entries, the ConfigMap aws-auth, or both"
  type        = string
}

variable "access_entries" {
  description = "Access entries of the cluster"
  type = map(object({
    kubernetes_groups = optional(list(string))
    principal_arn     = string
    policy_associations = optional(map(object({
      policy_arn   = string
      access_scope = object({ namespaces = optional(list(string)), type = string })
    })), {})
  }))
}

# tflint-ignore: terraform_unused_declarations
variable "include_oidc_root_ca_thumbprint" {
  description = "Whether to pin the root certificate of the OIDC issuer"
  type        = bool

  validation {
    condition     = !var.include_oidc_root_ca_thumbprint
    error_message = "The stand-in does not support thumbprints."
  }
}

variable "addons" {
  description = "EKS add-ons"
  type = map(object({
    before_compute       = optional(bool, false)
    most_recent          = optional(bool, true)
    configuration_values = optional(string)
    pod_identity_association = optional(list(object({
      role_arn        = string
      service_account = string
    })))
  }))
}

variable "node_security_group_tags" {
  description = "Tags of the nodes' security group"
  type        = map(string)
}

variable "eks_managed_node_groups" {
  description = "Managed node groups"
  type = map(object({
    ami_type                       = optional(string)
    ami_release_version            = optional(string)
    use_latest_ami_release_version = optional(bool)
    instance_types                 = optional(list(string))
    capacity_type                  = optional(string)
    min_size                       = optional(number)
    max_size                       = optional(number)
    desired_size                   = optional(number)
    labels                         = optional(map(string))
    iam_role_name                  = optional(string)
    iam_role_use_name_prefix       = optional(bool)
    iam_role_permissions_boundary  = optional(string)
    update_config                  = optional(object({ max_unavailable = optional(number) }))
    launch_template_tags           = optional(map(string))
    metadata_options = optional(object({
      http_endpoint               = optional(string)
      http_put_response_hop_limit = optional(number)
      http_tokens                 = optional(string)
    }))
    block_device_mappings = optional(map(object({
      device_name = optional(string)
      ebs = optional(object({
        delete_on_termination = optional(bool)
        encrypted             = optional(bool)
        volume_size           = optional(number)
        volume_type           = optional(string)
      }))
    })))
    cloudinit_pre_nodeadm = optional(list(object({ content = string, content_type = optional(string) })))
  }))
}

# tflint-ignore: terraform_unused_declarations
variable "deletion_protection" {
  description = "Whether EKS refuses to delete the cluster. Ignored, because versions of the provider before 6 do not support it"
  type        = bool
}
