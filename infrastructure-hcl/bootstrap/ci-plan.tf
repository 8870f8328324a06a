# plan: reads the resources of the stacks and their state. It writes nothing, not even a lock: plans run with
# -lock=false. It does not use the AWS policy ReadOnlyAccess, which can also read data (objects in all buckets,
# queues, tables, parameters): anyone who can open a pull request can run code with this role.

data "aws_iam_policy_document" "read_stacks" {
  statement {
    sid = "Metadata"
    actions = [
      "ec2:Describe*",
      "ecr:DescribeRepositories",
      "ecr:GetLifecyclePolicy",
      "ecr:GetRepositoryPolicy",
      "ecr:ListTagsForResource",
      "eks:Describe*",
      "eks:List*",
      "elasticache:Describe*",
      "elasticache:ListTagsForResource",
      "events:DescribeRule",
      "events:ListTagsForResource",
      "events:ListTargetsByRule",
      "iam:GetOpenIDConnectProvider",
      "iam:GetPolicy",
      "iam:GetPolicyVersion",
      "iam:GetRole",
      "iam:GetRolePolicy",
      "iam:ListAttachedRolePolicies",
      "iam:ListInstanceProfilesForRole",
      "iam:ListPolicyVersions",
      "iam:ListRolePolicies",
      "kms:DescribeKey",
      "kms:GetKeyPolicy",
      "kms:GetKeyRotationStatus",
      "kms:ListAliases",
      "kms:ListResourceTags",
      "logs:DescribeLogGroups",
      "logs:ListTagsForResource",
      "rds:Describe*",
      "rds:ListTagsForResource",
      "secretsmanager:DescribeSecret",
      "secretsmanager:GetResourcePolicy",
      "secretsmanager:ListSecretVersionIds",
      "sqs:GetQueueAttributes",
      "sqs:GetQueueUrl",
      "sqs:ListQueueTags",
    ]
    # Most of these actions do not support resource-level permissions, and none of them returns data.
    resources = ["*"]
  }

  statement {
    sid       = "PublicParameters"
    actions   = ["ssm:GetParameter"]
    resources = ["arn:${local.partition}:ssm:${var.region}::parameter/aws/service/*"]
  }

  statement {
    sid       = "FindState"
    actions   = ["s3:ListBucket"]
    resources = [local.state_bucket_arn]
  }

  statement {
    sid       = "ReadState"
    actions   = ["s3:GetObject"]
    resources = [for key in local.state_keys : "${local.state_bucket_arn}/${key}"]
  }
}

resource "aws_iam_policy" "read_stacks" {
  name        = "${local.name}-read-stacks"
  description = "What a plan of the stacks reads"
  policy      = data.aws_iam_policy_document.read_stacks.json
}

# An apply begins with a plan.
resource "aws_iam_role_policy_attachment" "read_stacks" {
  for_each = toset(["plan", "apply"])

  role       = aws_iam_role.ci[each.key].name
  policy_arn = aws_iam_policy.read_stacks.arn
}

resource "aws_iam_role_policy" "state_key" {
  for_each = {
    plan   = ["kms:Decrypt"]
    apply  = ["kms:Decrypt", "kms:GenerateDataKey"]
    deploy = ["kms:Decrypt"]
  }

  name = "state-key"
  role = aws_iam_role.ci[each.key].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "StateKey"
      Effect    = "Allow"
      Action    = each.value
      Resource  = aws_kms_key.state.arn
      Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
    }]
  })
}
