variable "name" {
  description = "Name of the role"
  type        = string
}

variable "use_name_prefix" {
  description = "Whether to use the name as a prefix"
  type        = bool
}

variable "attach_load_balancer_controller_policy" {
  description = "Whether to attach the policy of the load balancer controller"
  type        = bool
}

variable "permissions_boundary" {
  description = "Permissions boundary of the role"
  type        = string
}

variable "policy_name" {
  description = "Name of the role's policy"
  type        = string
}

variable "oidc_providers" {
  description = "OIDC providers, and the service accounts that can assume the role"
  type        = any
}
