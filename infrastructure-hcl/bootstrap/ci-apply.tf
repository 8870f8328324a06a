# apply: changes what the stacks manage, found by the cluster's name: as a name, a prefix, or the tag that the
# cluster stack gives everything (part_of_tag). Not AdministratorAccess: it can change neither this stack nor
# itself, nor hand out a right beyond the boundary. Two documents, since a policy ends at 6,144 characters.
#
# A right that depends on a tag is safe only where the role cannot tag a resource it did not create. EC2 offers
# ec2:CreateAction for that. KMS has no such condition: see secrets-key.tf.

locals {
  part_of_tag = "app.kubernetes.io/part-of"
}

data "aws_iam_policy_document" "apply_cluster" {
  statement {
    sid     = "Cluster"
    actions = ["eks:*"]
    resources = [for resource in [
      "cluster/${var.cluster_name}",
      "access-entry/${var.cluster_name}/*",
      "addon/${var.cluster_name}/*",
      "nodegroup/${var.cluster_name}/*",
      "podidentityassociation/${var.cluster_name}/*",
    ] : "arn:${local.partition}:eks:${local.here}:${resource}"]
  }

  statement {
    sid = "Logs"
    actions = [
      "logs:CreateLogGroup",
      "logs:DeleteLogGroup",
      "logs:PutRetentionPolicy",
      "logs:TagResource",
      "logs:UntagResource",
    ]
    resources = ["arn:${local.partition}:logs:${local.here}:log-group:/aws/eks/${var.cluster_name}/*"]
  }

  statement {
    sid = "InterruptionQueue"
    actions = [
      "sqs:CreateQueue",
      "sqs:DeleteQueue",
      "sqs:SetQueueAttributes",
      "sqs:TagQueue",
      "sqs:UntagQueue",
    ]
    resources = ["arn:${local.partition}:sqs:${local.here}:${var.cluster_name}-*"]
  }

  statement {
    sid = "InterruptionRules"
    actions = [
      "events:DeleteRule",
      "events:PutRule",
      "events:PutTargets",
      "events:RemoveTargets",
      "events:TagResource",
      "events:UntagResource",
    ]
    # Karpenter's module names them so.
    resources = ["arn:${local.partition}:events:${local.here}:rule/Karpenter*"]
  }

  statement {
    sid = "ImageRepository"
    actions = [
      "ecr:BatchDeleteImage",
      "ecr:CreateRepository",
      "ecr:DeleteLifecyclePolicy",
      "ecr:DeleteRepository",
      "ecr:ListImages",
      "ecr:PutImageScanningConfiguration",
      "ecr:PutImageTagMutability",
      "ecr:PutLifecyclePolicy",
      "ecr:TagResource",
      "ecr:UntagResource",
    ]
    resources = ["arn:${local.partition}:ecr:${local.here}:repository/${var.image_repository}"]
  }

  statement {
    sid       = "WriteState"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = [for key in local.state_keys : "${local.state_bucket_arn}/${key}"]
  }

  statement {
    sid       = "LockState"
    actions   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    resources = [for key in local.state_keys : "${local.state_bucket_arn}/${key}.tflock"]
  }
}

data "aws_iam_policy_document" "apply_access" {
  statement {
    sid = "CreateTagged"
    actions = [
      "ec2:CreateLaunchTemplate",
      "ec2:CreateSecurityGroup",
    ]
    resources = [for type in ["launch-template", "security-group"] :
    "arn:${local.partition}:ec2:${local.here}:${type}/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/${local.part_of_tag}"
      values   = [var.cluster_name]
    }
  }

  # The network a group is created in, and the rules, carry no tag of ours.
  statement {
    sid = "InNetwork"
    actions = [
      "ec2:AuthorizeSecurityGroupEgress",
      "ec2:AuthorizeSecurityGroupIngress",
      "ec2:CreateSecurityGroup",
      "ec2:RevokeSecurityGroupEgress",
      "ec2:RevokeSecurityGroupIngress",
    ]
    resources = [for type in ["security-group-rule", "vpc"] :
    "arn:${local.partition}:ec2:${local.here}:${type}/*"]
  }

  statement {
    sid       = "TagCreated"
    actions   = ["ec2:CreateTags"]
    resources = ["arn:${local.partition}:ec2:${local.here}:*/*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["CreateLaunchTemplate", "CreateSecurityGroup", "RunInstances"]
    }
  }

  statement {
    sid = "ChangeTagged"
    actions = [
      "ec2:AuthorizeSecurityGroupEgress",
      "ec2:AuthorizeSecurityGroupIngress",
      "ec2:CreateLaunchTemplateVersion",
      "ec2:CreateTags",
      "ec2:DeleteLaunchTemplate",
      "ec2:DeleteSecurityGroup",
      "ec2:DeleteTags",
      "ec2:ModifyLaunchTemplate",
      "ec2:RevokeSecurityGroupEgress",
      "ec2:RevokeSecurityGroupIngress",
    ]
    resources = [for type in ["launch-template", "security-group"] :
    "arn:${local.partition}:ec2:${local.here}:${type}/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/${local.part_of_tag}"
      values   = [var.cluster_name]
    }
  }

  # The subnets are somebody else's: only the tags by which controllers find them.
  statement {
    sid       = "TagSubnets"
    actions   = ["ec2:CreateTags", "ec2:DeleteTags"]
    resources = ["arn:${local.partition}:ec2:${local.here}:subnet/*"]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "aws:TagKeys"
      values   = ["karpenter.sh/discovery", "kubernetes.io/*"]
    }

    # Without it, a request that names no tag would meet "for all values", and delete every tag.
    condition {
      test     = "Null"
      variable = "aws:TagKeys"
      values   = ["false"]
    }
  }

  # EKS tries a node group's launch template in its caller's name.
  statement {
    sid       = "TryLaunchTemplate"
    actions   = ["ec2:RunInstances"]
    resources = ["*"]

    condition {
      test     = "ArnLike"
      variable = "ec2:LaunchTemplate"
      values   = ["arn:${local.partition}:ec2:${local.here}:launch-template/*"]
    }
  }

  statement {
    sid = "RolesWithinBoundary"
    actions = [
      "iam:AttachRolePolicy",
      "iam:CreateRole",
      "iam:DeleteRolePolicy",
      "iam:DetachRolePolicy",
      "iam:PutRolePermissionsBoundary",
      "iam:PutRolePolicy",
    ]
    resources = ["arn:${local.partition}:iam:${local.global}:role/${var.cluster_name}-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = [local.boundary_arn]
    }
  }

  statement {
    sid = "RolesAndPolicies"
    actions = [
      "iam:CreatePolicy",
      "iam:CreatePolicyVersion",
      "iam:DeletePolicy",
      "iam:DeletePolicyVersion",
      "iam:DeleteRole",
      "iam:TagPolicy",
      "iam:TagRole",
      "iam:UntagPolicy",
      "iam:UntagRole",
      "iam:UpdateAssumeRolePolicy",
      "iam:UpdateRole",
      "iam:UpdateRoleDescription",
    ]
    resources = [for type in ["policy", "role"] :
    "arn:${local.partition}:iam:${local.global}:${type}/${var.cluster_name}-*"]
  }

  statement {
    sid       = "HandOverRoles"
    actions   = ["iam:PassRole"]
    resources = ["arn:${local.partition}:iam:${local.global}:role/${var.cluster_name}-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com", "eks.amazonaws.com", "pods.eks.amazonaws.com"]
    }
  }

  statement {
    sid = "ClusterIssuer"
    actions = [
      "iam:AddClientIDToOpenIDConnectProvider",
      "iam:CreateOpenIDConnectProvider",
      "iam:DeleteOpenIDConnectProvider",
      "iam:TagOpenIDConnectProvider",
      "iam:UntagOpenIDConnectProvider",
      "iam:UpdateOpenIDConnectProviderThumbprint",
    ]
    # Not GitHub's, through which CI itself comes in.
    resources = ["arn:${local.partition}:iam:${local.global}:oidc-provider/oidc.eks.${var.region}.amazonaws.com/*"]
  }

  statement {
    sid       = "ServiceLinkedRoles"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["arn:${local.partition}:iam:${local.global}:role/aws-service-role/*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["eks.amazonaws.com", "eks-nodegroup.amazonaws.com"]
    }
  }
}

resource "aws_iam_policy" "apply" {
  for_each = {
    cluster = data.aws_iam_policy_document.apply_cluster.json
    access  = data.aws_iam_policy_document.apply_access.json
  }

  name        = "${local.name}-apply-${each.key}"
  description = "What an apply of the stacks changes"
  policy      = each.value
}

resource "aws_iam_role_policy_attachment" "apply" {
  for_each = aws_iam_policy.apply

  role       = aws_iam_role.ci["apply"].name
  policy_arn = each.value.arn
}
