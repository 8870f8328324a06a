# The permissions boundary of all roles that CI creates, whatever policies CI attaches to them. Without a boundary,
# anyone who can create roles can become an administrator. It allows what the environment's roles need: instances,
# networks, load balancers, images, the interruption queue, the cluster's secrets and its KMS key, the flow logs, the
# pods' logs and traces, and what CloudWatch's agent and the sleep schedule do. None of these roles needs to change IAM,
# apart from instance profiles and service-linked roles, to read a bucket or to assume another role.

data "aws_iam_policy_document" "boundary" {
  #checkov:skip=CKV_AWS_111: a boundary grants nothing; each role's own policy restricts the resources
  #checkov:skip=CKV_AWS_356: a boundary grants nothing; each role's own policy restricts the resources
  statement {
    sid = "Cluster"
    actions = [
      "acm:DescribeCertificate",
      "acm:ListCertificates",
      "arc-zonal-shift:GetManagedResource",
      "autoscaling:DescribeAutoScalingGroups",
      "autoscaling:UpdateAutoScalingGroup",
      "cloudwatch:DisableAlarmActions",
      "cloudwatch:EnableAlarmActions",
      "cloudwatch:PutMetricData",
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
      "eks:UpdateNodegroupConfig",
      "eks-auth:AssumeRoleForPodIdentity",
      "elasticloadbalancing:*",
      "kms:Decrypt",
      "kms:DescribeKey",
      "kms:Encrypt",
      "kms:ListGrants",
      "logs:CreateLogStream",
      "logs:DescribeLog*",
      "logs:FilterLogEvents",
      "logs:GetLogEvents",
      "logs:GetLogGroupFields",
      "logs:GetQueryResults",
      "logs:PutLogEvents",
      "logs:StartQuery",
      "logs:StopQuery",
      "rds:StartDBInstance",
      "rds:StopDBInstance",
      "tag:GetResources",
      "waf-regional:*WebACL*",
      "wafv2:*WebACL*",
      "xray:PutTelemetryRecords",
      "xray:PutTraceSegments",
    ]
    resources = ["*"]

    # The cluster uses only instances and keys of its own region.
    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  # Global services, which a condition on the region would exclude.
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

  # For the External Secrets operator.
  statement {
    sid       = "Secrets"
    actions   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
    resources = ["arn:${local.partition}:secretsmanager:${local.here}:secret:${var.cluster_name}/*"]
  }

  # RDS chooses the name of the secret with the administrator's password, but tags it with the database.
  statement {
    sid       = "DatabaseAdministrator"
    actions   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
    resources = ["arn:${local.partition}:secretsmanager:${local.here}:secret:rds!db-*"]

    condition {
      test     = "ArnLike"
      variable = "aws:ResourceTag/aws:rds:primaryDBInstanceArn"
      values   = ["arn:${local.partition}:rds:${local.here}:db:${var.cluster_name}*"]
    }
  }

  statement {
    sid       = "FlowLogs"
    actions   = ["logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = ["arn:${local.partition}:logs:${local.here}:log-group:/aws/vpc-flow-log/${var.cluster_name}:*"]
  }

  statement {
    sid       = "PublicParameters"
    actions   = ["ssm:GetParameter"]
    resources = ["arn:${local.partition}:ssm:${var.region}::parameter/aws/service/*"]
  }

  statement {
    sid     = "TerminateNodes"
    actions = ["ssm:StartAutomationExecution"]
    resources = [for resource in ["automation-definition/AWS-TerminateEC2Instance:*", "document/AWS-TerminateEC2Instance"] :
    "arn:${local.partition}:ssm:${var.region}::${resource}"]
  }

  # Karpenter passes the node role to the instances that it launches, the sleep schedule passes the role that terminates
  # them.
  statement {
    sid       = "NodeRole"
    actions   = ["iam:PassRole"]
    resources = ["arn:${local.partition}:iam:${local.global}:role/${var.cluster_name}-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com", "ssm.amazonaws.com"]
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
  # The name must not start with the cluster's name, because `apply` can change resources with such names.
  name        = "${local.name}-boundary"
  description = "What no role that CI creates can exceed"
  policy      = data.aws_iam_policy_document.boundary.json
}
