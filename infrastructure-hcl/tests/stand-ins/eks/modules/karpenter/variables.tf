variable "cluster_name" {
  description = "Name of the cluster"
  type        = string
}

variable "iam_role_name" {
  description = "Name of the controller's role"
  type        = string
}

variable "iam_role_use_name_prefix" {
  description = "Whether to use the name as a prefix"
  type        = bool
}

variable "enable_inline_policy" {
  description = "Whether to use an inline policy for the controller's role"
  type        = bool
}

variable "node_iam_role_name" {
  description = "Name of the nodes' role"
  type        = string
}

variable "node_iam_role_use_name_prefix" {
  description = "Whether to use the name as a prefix"
  type        = bool
}

variable "iam_role_permissions_boundary_arn" {
  description = "Permissions boundary of the controller's role"
  type        = string
}

variable "node_iam_role_permissions_boundary" {
  description = "Permissions boundary of the nodes' role"
  type        = string
}

variable "namespace" {
  description = "Namespace of the controller"
  type        = string
}

variable "service_account" {
  description = "Service account of the controller"
  type        = string
}

variable "queue_name" {
  description = "Name of the interruption queue"
  type        = string
}
