# The key that encrypts Kubernetes Secrets. This stack creates it instead of the cluster stack, because KMS cannot
# distinguish tagging a new key from tagging an existing one. A role that can create and tag keys could tag any key in
# the account, including the key of the state, and then change that key's policy.
resource "aws_kms_key" "secrets" {
  #checkov:skip=CKV2_AWS_64: the key's default policy delegates access to IAM, which is intended
  description             = "Kubernetes Secrets of ${var.cluster_name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  # Without this key, the cluster cannot read its Secrets.
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "secrets" {
  name          = "alias/${local.name}-secrets"
  target_key_id = aws_kms_key.secrets.key_id
}

# EKS obtains its grant on the key with the permissions of the role that creates the cluster.
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
