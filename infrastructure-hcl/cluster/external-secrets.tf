# The role with which the External Secrets operator reads Secrets Manager. The platform stack installs the operator.

locals {
  in_this_account = "${var.region}:${data.aws_caller_identity.current.account_id}"
  secrets         = "arn:${data.aws_partition.current.partition}:secretsmanager:${local.in_this_account}:secret"
  databases       = "arn:${data.aws_partition.current.partition}:rds:${local.in_this_account}:db"
}

resource "aws_iam_role" "external_secrets" {
  name                 = "${var.cluster_name}-external-secrets"
  permissions_boundary = local.permissions_boundary

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { Service = "pods.eks.amazonaws.com" }
    }]
  })
}

# Secrets Manager encrypts these secrets with its own key, which needs no permission in KMS.
resource "aws_iam_role_policy" "external_secrets" {
  name = "read-secrets"
  role = aws_iam_role.external_secrets.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "OfTheCluster"
        Effect   = "Allow"
        Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
        Resource = "${local.secrets}:${var.cluster_name}/*"
      },
      # The password of the database's administrator, with which the migration makes the users. RDS chooses the name, but
      # tags the secret with the database.
      {
        Sid       = "DatabaseAdministrator"
        Effect    = "Allow"
        Action    = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
        Resource  = "${local.secrets}:rds!db-*"
        Condition = { ArnLike = { "aws:ResourceTag/aws:rds:primaryDBInstanceArn" = "${local.databases}:${var.cluster_name}*" } }
      },
    ]
  })
}

resource "aws_eks_pod_identity_association" "external_secrets" {
  cluster_name    = module.eks.cluster_name
  namespace       = "kube-system"
  service_account = "external-secrets"
  role_arn        = aws_iam_role.external_secrets.arn
}
