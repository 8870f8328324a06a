variable "name" {
  description = "Name of the role"
  type        = string
}

variable "use_name_prefix" {
  description = "Whether the name is only a prefix"
  type        = bool
}

variable "attach_load_balancer_controller_policy" {
  description = "Whether the role may do what the load balancer controller does"
  type        = bool
}

variable "permissions_boundary" {
  description = "Policy the role may not exceed"
  type        = string
}

variable "policy_name" {
  description = "Name of the role's policy"
  type        = string
}

variable "oidc_providers" {
  description = "Issuers, and the service accounts that may take the role on"
  type        = any
}
