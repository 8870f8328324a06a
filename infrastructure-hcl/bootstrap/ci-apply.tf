# apply: changes the resources of the stacks, which it identifies by the cluster's name: as their name, as a prefix,
# or in the tag that the cluster stack gives to all its resources (part_of_tag). It does not have AdministratorAccess:
# it cannot change this stack or itself, and cannot grant permissions beyond the boundary. There are several
# policies, because a policy is limited to 6,144 characters.
#
# A permission that depends on a tag is safe only if the role cannot tag resources that it did not create. For EC2, the
# condition ec2:CreateAction prevents that. KMS has no such condition: see secrets-key.tf.

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
    # The prefix that Karpenter's module uses.
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

  # The VPC of a new security group, and security group rules, do not have our tag.
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

  # The subnets belong to someone else, so this allows only the tags by which controllers find them.
  statement {
    sid       = "TagSubnets"
    actions   = ["ec2:CreateTags", "ec2:DeleteTags"]
    resources = ["arn:${local.partition}:ec2:${local.here}:subnet/*"]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "aws:TagKeys"
      values   = ["karpenter.sh/discovery", "kubernetes.io/*"]
    }

    # Without this condition, a request without tag keys would satisfy ForAllValues, and delete all tags.
    condition {
      test     = "Null"
      variable = "aws:TagKeys"
      values   = ["false"]
    }
  }

  # EKS tests a node group's launch template with the permissions of its caller.
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
    # Excludes the provider of GitHub, through which CI itself signs in.
    resources = ["arn:${local.partition}:iam:${local.global}:oidc-provider/oidc.eks.${var.region}.amazonaws.com/*"]
  }

  statement {
    sid       = "ServiceLinkedRoles"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["arn:${local.partition}:iam:${local.global}:role/aws-service-role/*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["eks.amazonaws.com", "eks-nodegroup.amazonaws.com", "elasticache.amazonaws.com", "rds.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "apply_data" {
  statement {
    sid = "Database"
    actions = [
      "rds:AddTagsToResource",
      "rds:CreateDBInstance",
      "rds:CreateDBParameterGroup",
      "rds:CreateDBSnapshot",
      "rds:CreateDBSubnetGroup",
      "rds:DeleteDBInstance",
      "rds:DeleteDBParameterGroup",
      "rds:DeleteDBSubnetGroup",
      "rds:ModifyDBInstance",
      "rds:ModifyDBParameterGroup",
      "rds:ModifyDBSubnetGroup",
      "rds:RebootDBInstance",
      "rds:RemoveTagsFromResource",
      "rds:ResetDBParameterGroup",
      "rds:RestoreDBInstanceFromDBSnapshot",
      "rds:RestoreDBInstanceToPointInTime",
    ]
    resources = [for resource in [
      "db:${var.cluster_name}",
      "subgrp:${var.cluster_name}",
      "pg:${var.cluster_name}-*",
      "snapshot:${var.cluster_name}-*",
      # Backups that RDS makes itself.
      "snapshot:rds:${var.cluster_name}-*",
      "auto-backup:*",
      # The default option group, which every instance has.
      "og:default:*",
    ] : "arn:${local.partition}:rds:${local.here}:${resource}"]
  }

  statement {
    sid = "Cache"
    actions = [
      "elasticache:AddTagsToResource",
      "elasticache:CreateCacheSubnetGroup",
      "elasticache:CreateReplicationGroup",
      "elasticache:DecreaseReplicaCount",
      "elasticache:DeleteCacheSubnetGroup",
      "elasticache:DeleteReplicationGroup",
      "elasticache:IncreaseReplicaCount",
      "elasticache:ModifyCacheSubnetGroup",
      "elasticache:ModifyReplicationGroup",
      "elasticache:RemoveTagsFromResource",
    ]
    resources = [for resource in [
      "replicationgroup:${var.cluster_name}",
      "subnetgroup:${var.cluster_name}",
      "cluster:${var.cluster_name}-*",
      "parametergroup:default.*",
    ] : "arn:${local.partition}:elasticache:${local.here}:${resource}"]
  }

  statement {
    sid = "Secrets"
    actions = [
      "secretsmanager:CreateSecret",
      "secretsmanager:DeleteSecret",
      # For the cache's token, which `make apply` copies from the service's secret.
      "secretsmanager:GetSecretValue",
      "secretsmanager:PutSecretValue",
      "secretsmanager:TagResource",
      "secretsmanager:UntagResource",
      "secretsmanager:UpdateSecret",
      "secretsmanager:UpdateSecretVersionStage",
    ]
    resources = ["arn:${local.partition}:secretsmanager:${local.here}:secret:${var.cluster_name}/*"]
  }

  # RDS creates the secret of its master user with the permissions of the role that creates the database.
  statement {
    sid       = "MasterSecret"
    actions   = ["secretsmanager:CreateSecret", "secretsmanager:RotateSecret", "secretsmanager:TagResource"]
    resources = ["arn:${local.partition}:secretsmanager:${local.here}:secret:rds!db-*"]
  }

  statement {
    sid = "DatabaseLogs"
    actions = [
      "logs:CreateLogGroup",
      "logs:DeleteLogGroup",
      "logs:PutRetentionPolicy",
      "logs:TagResource",
      "logs:UntagResource",
    ]
    resources = ["arn:${local.partition}:logs:${local.here}:log-group:/aws/rds/instance/${var.cluster_name}/*"]
  }
}

resource "aws_iam_policy" "apply" {
  for_each = {
    cluster = data.aws_iam_policy_document.apply_cluster.json
    access  = data.aws_iam_policy_document.apply_access.json
    data    = data.aws_iam_policy_document.apply_data.json
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
