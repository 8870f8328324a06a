# Who of GitHub may be whom here. What each may do stands in a file of its own: ci-<role>.tf.

resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

locals {
  # GitHub names the repository in one of two ways: by names alone, or, since July 2026 in every new repository,
  # with the ids added. Both are accepted, since the condition on repository_id holds for either: somebody who
  # takes over a name that became free does not get in.
  subject_prefixes = [
    "repo:${var.repository.name}",
    format("repo:%s@%s/%s@%s",
      split("/", var.repository.name)[0], var.repository.owner_id,
      split("/", var.repository.name)[1], var.repository.id,
    ),
  ]

  # The jobs that may assume each role. Every role has a GitHub environment of its own, so a job that may roll an
  # image out cannot assume the role that applies. A job in an environment has passed that environment's approval.
  # The trust also names the branch, because an environment's own branch rule can be switched off in GitHub alone.
  # `plan` serves pull requests, and the plan of `main` that is approved before it is applied.
  ci_roles = {
    plan    = { subjects = ["pull_request", "ref:refs/heads/${var.branch}"], branch_only = false, purpose = "Plans changes" }
    apply   = { subjects = ["environment:${var.environment}-infrastructure"], branch_only = true, purpose = "Applies the stacks" }
    release = { subjects = ["environment:${var.environment}-images"], branch_only = true, purpose = "Pushes images" }
    deploy  = { subjects = ["environment:${var.environment}"], branch_only = true, purpose = "Rolls images out" }
  }
}

data "aws_iam_policy_document" "trust" {
  #checkov:skip=CKV_AWS_358: the subject is compared whole, and the repository's id with it
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

  # Not a name that starts with the cluster's: those are the ones that `apply` may change.
  name               = "${local.name}-${each.key}"
  description        = "${each.value.purpose} of ${var.repository.name}"
  assume_role_policy = data.aws_iam_policy_document.trust[each.key].json
}
