data "aws_iam_policy_document" "trust" {
  dynamic "statement" {
    for_each = var.oidc_providers

    content {
      actions = ["sts:AssumeRoleWithWebIdentity"]

      principals {
        type        = "Federated"
        identifiers = [statement.value.provider_arn]
      }

      condition {
        test     = "StringEquals"
        variable = "${replace(statement.value.provider_arn, "/^.*oidc-provider\\//", "")}:sub"
        values   = [for account in statement.value.namespace_service_accounts : "system:serviceaccount:${account}"]
      }

      condition {
        test     = "StringEquals"
        variable = "${replace(statement.value.provider_arn, "/^.*oidc-provider\\//", "")}:aud"
        values   = ["sts.amazonaws.com"]
      }
    }
  }
}

resource "aws_iam_role" "this" {
  name                 = var.use_name_prefix ? null : var.name
  name_prefix          = var.use_name_prefix ? "${var.name}-" : null
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary
}

# The emulator does not enforce policies. The policy of the real module is about 250 lines by AWS.
data "aws_iam_policy_document" "load_balancer_controller" {
  statement {
    actions   = ["elasticloadbalancing:Describe*", "ec2:Describe*"]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "load_balancer_controller" {
  for_each = toset(var.attach_load_balancer_controller_policy ? [var.policy_name] : [])

  name   = each.key
  role   = aws_iam_role.this.name
  policy = data.aws_iam_policy_document.load_balancer_controller.json
}
