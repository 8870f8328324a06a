# The bucket of the Terraform states. Locks are objects in the same bucket (use_lockfile), so no table is needed.

locals {
  # The name is derived from account and region, so the scripts find the bucket without further configuration.
  state_bucket = "${local.name}-state-${local.account}-${var.region}"

  # The stacks that CI plans and applies. This stack is not among them, because CI must not change its own permissions.
  stacks     = ["cluster", "data", "platform"]
  state_keys = [for stack in local.stacks : "${var.environment}/${stack}.tfstate"]
}

# A customer managed key. A state contains everything that Terraform knows, and permission to read all buckets is common
# (the AWS policy ReadOnlyAccess includes it). Without permission to use this key, the objects stay unreadable.
resource "aws_kms_key" "state" {
  #checkov:skip=CKV2_AWS_64: the key's default policy delegates access to IAM, which is intended
  description             = "Terraform state in ${local.state_bucket}"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "state" {
  name          = "alias/${local.name}-state"
  target_key_id = aws_kms_key.state.key_id
}

resource "aws_s3_bucket" "state" {
  #checkov:skip=CKV_AWS_18: CloudTrail can record access to the objects; a log bucket would itself need another one
  #checkov:skip=CKV2_AWS_62: nothing reacts to changes of a state
  #checkov:skip=CKV_AWS_144: the clusters are in the same region, and versions protect against mistakes
  bucket = local.state_bucket

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_ownership_controls" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "state" {
  bucket = aws_s3_bucket.state.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "state" {
  bucket = aws_s3_bucket.state.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    # Reduces the number of requests to KMS.
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.state.arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "state" {
  # S3 refuses rules for noncurrent versions until versioning is enabled.
  depends_on = [aws_s3_bucket_versioning.state]

  bucket = aws_s3_bucket.state.id

  rule {
    id     = "old-versions"
    status = "Enabled"

    filter {}

    # Keep the 20 most recent versions regardless of their age, so that a stack unchanged for a year can be restored.
    noncurrent_version_expiration {
      noncurrent_days           = 90
      newer_noncurrent_versions = 20
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  rule {
    id     = "removed-locks"
    status = "Enabled"

    filter {}

    expiration {
      expired_object_delete_marker = true
    }
  }
}

resource "aws_s3_bucket_policy" "state" {
  # Concurrent changes to a bucket's access settings conflict.
  depends_on = [aws_s3_bucket_public_access_block.state]

  bucket = aws_s3_bucket.state.id
  policy = data.aws_iam_policy_document.state_bucket.json
}

data "aws_iam_policy_document" "state_bucket" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.state_bucket_arn, "${local.state_bucket_arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # A backend with `encrypt = true` requests encryption with S3's own key. Without this statement, S3 would accept that.
  statement {
    sid       = "NoOtherEncryption"
    effect    = "Deny"
    actions   = ["s3:PutObject"]
    resources = ["${local.state_bucket_arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "StringNotEquals"
      variable = "s3:x-amz-server-side-encryption"
      values   = ["aws:kms"]
    }

    condition {
      test     = "Null"
      variable = "s3:x-amz-server-side-encryption"
      values   = ["false"]
    }
  }
}
