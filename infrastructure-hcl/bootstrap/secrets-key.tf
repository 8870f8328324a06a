# The key that encrypts Kubernetes' Secrets. It belongs here and not to the cluster stack, because KMS cannot tell
# tagging a new key from tagging an existing one: a role that may create and tag keys could tag any key of the
# account, the state's included, and then change its policy.
resource "aws_kms_key" "secrets" {
  #checkov:skip=CKV2_AWS_64: the key's default policy leaves access to the account's IAM, which is what is meant
  description             = "Kubernetes Secrets of ${var.cluster_name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  # Without it, the cluster cannot read its Secrets again.
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "secrets" {
  name          = "alias/${local.name}-secrets"
  target_key_id = aws_kms_key.secrets.key_id
}

# EKS requests its use of the key in the name of whoever creates the cluster.
resource "aws_iam_role_policy" "lend_secrets_key" {
  name = "lend-secrets-key"
  role = aws_iam_role.ci["apply"].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "LendSecretsKey"
      Effect    = "Allow"
      Action    = "kms:CreateGrant"
      Resource  = aws_kms_key.secrets.arn
      Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
    }]
  })
}
