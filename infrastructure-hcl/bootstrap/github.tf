# The GitHub jobs that can assume each role. The files ci-<role>.tf define the roles' permissions.

resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

locals {
  # GitHub identifies the repository in one of two formats: by name only or, in every repository created since July
  # 2026, by name and id. The roles accept both, because the condition on repository_id applies to either: someone who
  # takes over an abandoned name gets no access.
  subject_prefixes = [
    "repo:${var.repository.name}",
    format("repo:%s@%s/%s@%s",
      split("/", var.repository.name)[0], var.repository.owner_id,
      split("/", var.repository.name)[1], var.repository.id,
    ),
  ]

  # The jobs that can assume each role. Every role except `plan` has its own GitHub environment, so a job that can
  # roll out an image cannot assume the role that applies. A job in an environment has passed that environment's
  # approval. The trust policy also names the branch, because anyone who administers the GitHub repository can disable
  # an environment's branch rule. `plan` serves pull requests, and the plan on the branch that is approved before it
  # is applied.
  ci_roles = {
    plan    = { subjects = ["pull_request", "ref:refs/heads/${var.branch}"], branch_only = false, purpose = "Plans changes" }
    apply   = { subjects = ["environment:${var.environment}-infrastructure"], branch_only = true, purpose = "Applies the stacks" }
    release = { subjects = ["environment:${var.environment}-images"], branch_only = true, purpose = "Pushes images" }
    deploy  = { subjects = ["environment:${var.environment}"], branch_only = true, purpose = "Rolls images out" }
  }
}

data "aws_iam_policy_document" "trust" {
  #checkov:skip=CKV_AWS_358: the conditions compare the whole subject and the repository's id
  for_each = local.ci_roles

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [local.github_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:sub"
      values   = [for pair in setproduct(local.subject_prefixes, each.value.subjects) : join(":", pair)]
    }

    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:repository_id"
      values   = [var.repository.id]
    }

    dynamic "condition" {
      for_each = each.value.branch_only ? [var.branch] : []

      content {
        test     = "StringEquals"
        variable = "token.actions.githubusercontent.com:ref"
        values   = ["refs/heads/${condition.value}"]
      }
    }
  }
}

resource "aws_iam_role" "ci" {
  depends_on = [aws_iam_openid_connect_provider.github]
  for_each   = local.ci_roles

  # The name must not start with the cluster's name, because `apply` can change resources with such names.
  name               = "${local.name}-${each.key}"
  description        = "${each.value.purpose} of ${var.repository.name}"
  assume_role_policy = data.aws_iam_policy_document.trust[each.key].json
}
