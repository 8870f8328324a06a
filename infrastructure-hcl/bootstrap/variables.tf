variable "environment" {
  description = "The environment this account holds, as GitHub knows it. An account holds one: cluster and image repository have the same name in each"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.environment))
    error_message = "environment must be 2 to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "region" {
  description = "AWS region of the state and of everything CI may touch"
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be a region's code, such as eu-central-1."
  }
}

variable "repository" {
  description = "The GitHub repository whose workflows may assume the roles: owner/name, its id and its owner's id"
  type = object({
    name     = string
    id       = string
    owner_id = string
  })

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$", var.repository.name))
    error_message = "repository.name must be owner/name, without a wildcard."
  }

  validation {
    condition     = can(regex("^[1-9][0-9]*$", var.repository.id)) && can(regex("^[1-9][0-9]*$", var.repository.owner_id))
    error_message = "repository.id and repository.owner_id must be numbers; `gh api repos/<owner>/<name>` shows them as .id and .owner.id."
  }
}

variable "branch" {
  description = "The branch that is released and deployed"
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._/-]*$", var.branch))
    error_message = "branch must be the name of one branch, without a wildcard."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster; CI may touch only what carries it as its name, prefix or tag"
  type        = string
  default     = "fastify-eks-cluster"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}$", var.cluster_name))
    error_message = "cluster_name must be at most 29 lower-case letters, digits and dashes, starting with a letter."
  }

  validation {
    condition     = !startswith("${local.name}-", "${var.cluster_name}-")
    error_message = "cluster_name must not be how the names of CI's own roles begin (${local.name}-): CI could then change its own rights."
  }
}

variable "image_repository" {
  description = "Name of the ECR repository"
  type        = string
  default     = "fastify-app"

  validation {
    condition     = can(regex("^[a-z0-9]+([._/-][a-z0-9]+)*$", var.image_repository))
    error_message = "image_repository must be the name of one ECR repository, without registry and tag."
  }
}

variable "monthly_budget_usd" {
  description = "What the account may cost a month before somebody hears of it, in US dollars"
  type        = number

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "monthly_budget_usd must be more than 0."
  }
}

variable "budget_emails" {
  description = "Who hears of it"
  type        = set(string)

  validation {
    condition     = length(var.budget_emails) >= 1 && length(var.budget_emails) <= 10
    error_message = "budget_emails must hold 1 to 10 addresses; AWS Budgets takes no more."
  }

  validation {
    condition     = alltrue([for address in var.budget_emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "budget_emails holds something that is no e-mail address."
  }
}
