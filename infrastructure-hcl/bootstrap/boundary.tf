# What no role that CI creates can exceed, whatever policies CI attaches to it. Without it, a right to create
# roles is a right to become administrator. The cluster's own roles need: machines, networks and balancers,
# images, the queue of interruptions, the cluster's key. None of them writes IAM, reads a bucket or assumes a role.

data "aws_iam_policy_document" "boundary" {
  #checkov:skip=CKV_AWS_111: a boundary grants nothing, it limits what policies grant
  #checkov:skip=CKV_AWS_356: as above
  #checkov:skip=CKV_AWS_111: a boundary grants nothing; each role's own policy says on what
  #checkov:skip=CKV_AWS_356: a boundary grants nothing; each role's own policy says on what
  statement {
    sid = "Cluster"
    actions = [
      "acm:DescribeCertificate",
      "acm:ListCertificates",
      "arc-zonal-shift:GetManagedResource",
      "autoscaling:DescribeAutoScalingGroups",
      "autoscaling:UpdateAutoScalingGroup",
      "cognito-idp:DescribeUserPoolClient",
      "ec2:*",
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:Describe*",
      "ecr:GetAuthorizationToken",
      "ecr:GetDownloadUrlForLayer",
      "ecr:GetLifecyclePolicy*",
      "ecr:GetRepositoryPolicy",
      "ecr:List*",
      "eks:DescribeCluster",
      "eks-auth:AssumeRoleForPodIdentity",
      "elasticloadbalancing:*",
      "kms:Decrypt",
      "kms:DescribeKey",
      "kms:Encrypt",
      "kms:ListGrants",
      "waf-regional:*WebACL*",
      "wafv2:*WebACL*",
    ]
    resources = ["*"]

    # Machines and keys of other regions are not the cluster's.
    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  # Services that answer from one region for all.
  statement {
    sid = "Global"
    actions = [
      "iam:GetInstanceProfile",
      "iam:GetServerCertificate",
      "iam:ListInstanceProfiles",
      "iam:ListServerCertificates",
      "pricing:GetProducts",
      "shield:*Protection",
      "shield:GetSubscriptionState",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "Interruptions"
    actions   = ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
    resources = ["arn:${local.partition}:sqs:${local.here}:${var.cluster_name}-*"]
  }

  statement {
    sid       = "PublicParameters"
    actions   = ["ssm:GetParameter"]
    resources = ["arn:${local.partition}:ssm:${var.region}::parameter/aws/service/*"]
  }

  # Karpenter gives its machines the node role.
  statement {
    sid       = "NodeRole"
    actions   = ["iam:PassRole"]
    resources = ["arn:${local.partition}:iam:${local.global}:role/${var.cluster_name}-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com"]
    }
  }

  statement {
    sid = "InstanceProfiles"
    actions = [
      "iam:AddRoleToInstanceProfile",
      "iam:CreateInstanceProfile",
      "iam:DeleteInstanceProfile",
      "iam:RemoveRoleFromInstanceProfile",
      "iam:TagInstanceProfile",
    ]
    resources = ["arn:${local.partition}:iam:${local.global}:instance-profile/*"]
  }

  statement {
    sid       = "ServiceLinkedRoles"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["arn:${local.partition}:iam:${local.global}:role/aws-service-role/*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["elasticloadbalancing.amazonaws.com"]
    }
  }
}

resource "aws_iam_policy" "boundary" {
  # Not a name that starts with the cluster's: those are the ones that `apply` may change.
  name        = "${local.name}-boundary"
  description = "What no role that CI creates can exceed"
  policy      = data.aws_iam_policy_document.boundary.json
}
