variable "environment" {
  description = "Name of the environment in this account, as in GitHub. Each account holds one environment, because cluster and image repository have the same names in all of them"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment must be 2 to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "region" {
  description = "AWS region of the state and of all resources that CI can change"
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the code of an AWS region, such as eu-central-1."
  }
}

variable "repository" {
  description = "GitHub repository with the workflows that can assume the roles: owner/name, the repository's id and the owner's id"
  type = object({
    name     = string
    id       = string
    owner_id = string
  })

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$", var.repository.name))
    error_message = "repository.name must have the form owner/name, without wildcards."
  }

  validation {
    condition     = can(regex("^[1-9][0-9]*$", var.repository.id)) && can(regex("^[1-9][0-9]*$", var.repository.owner_id))
    error_message = "repository.id and repository.owner_id must be numbers; `gh api repos/<owner>/<name>` shows them as .id and .owner.id."
  }
}

variable "branch" {
  description = "Branch from which CI releases and deploys"
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._/-]*$", var.branch))
    error_message = "branch must be the name of a single branch, without wildcards."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster. CI can change only resources that have it as their name, name prefix or tag"
  type        = string
  default     = "fastify-eks-cluster"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}$", var.cluster_name))
    error_message = "cluster_name must be at most 29 lower-case letters, digits and dashes, starting with a letter."
  }

  validation {
    condition     = !startswith("${local.name}-", "${var.cluster_name}-")
    error_message = "cluster_name must not be a prefix of the names of CI's own roles (${local.name}-): CI could then change its own permissions."
  }
}

variable "edge_zone_id" {
  description = "Hosted zone in Route 53 in which CI may write records, and for which it may apply the stack edge. If null, CI cannot change that stack"
  type        = string
  default     = null

  validation {
    condition     = var.edge_zone_id == null || can(regex("^Z[A-Z0-9]{1,31}$", var.edge_zone_id))
    error_message = "edge_zone_id must be the id of a hosted zone, such as Z0123456789ABCDEFGHIJ, without /hostedzone/."
  }
}

variable "image_repository" {
  description = "Name of the service's ECR repository"
  type        = string
  default     = "fastify-app"

  validation {
    condition     = can(regex("^[a-z0-9]+([._/-][a-z0-9]+)*$", var.image_repository))
    error_message = "image_repository must be the name of a single ECR repository, without registry or tag."
  }
}

variable "monthly_budget_usd" {
  description = "Monthly budget of the account in US dollars. AWS Budgets sends alerts at 80 % of it (forecast) and at 100 % (actual cost)"
  type        = number

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "monthly_budget_usd must be greater than 0."
  }
}

variable "budget_emails" {
  description = "E-mail addresses that receive the budget alerts"
  type        = set(string)

  validation {
    condition     = length(var.budget_emails) >= 1 && length(var.budget_emails) <= 10
    error_message = "budget_emails must contain 1 to 10 addresses, the maximum of AWS Budgets."
  }

  validation {
    condition     = alltrue([for address in var.budget_emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "budget_emails contains an invalid e-mail address."
  }
}
