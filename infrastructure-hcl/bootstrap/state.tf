# Where Terraform keeps its state. Locks are objects beside it (use_lockfile), so there is no table.

locals {
  # The name follows from account and region, so whoever knows both needs no other configuration to find the state.
  state_bucket = "${local.name}-state-${local.account}-${var.region}"

  # The stacks that CI plans and applies. This one is not among them: CI must not change its own rights.
  stacks     = ["cluster", "platform"]
  state_keys = [for stack in local.stacks : "${var.environment}/${stack}.tfstate"]
}

# A key of our own, not S3's: state holds whatever Terraform knows, and read access to every bucket is common
# (AWS's ReadOnlyAccess has it). Without a right to this key it reads nothing.
resource "aws_kms_key" "state" {
  #checkov:skip=CKV2_AWS_64: AWS's default is meant: IAM policies decide
  #checkov:skip=CKV2_AWS_64: the key's default policy leaves access to the account's IAM, which is what is meant
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
  #checkov:skip=CKV_AWS_18: who reads state shows in CloudTrail, if the account records data events
  #checkov:skip=CKV_AWS_144: versions are against mistakes; without its region, nothing is left that it describes
  #checkov:skip=CKV2_AWS_62: nobody waits for a notification
  #checkov:skip=CKV_AWS_18: who reads and writes state is in CloudTrail; a log bucket would need one itself
  #checkov:skip=CKV2_AWS_62: nothing waits for a state to change
  #checkov:skip=CKV_AWS_144: the clusters are in this region too, and versions undo a mistake
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
    # One request to KMS for many objects.
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.state.arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "state" {
  # S3 refuses rules about old versions before there can be any.
  depends_on = [aws_s3_bucket_versioning.state]

  bucket = aws_s3_bucket.state.id

  rule {
    id     = "old-versions"
    status = "Enabled"

    filter {}

    # The newest 20 stay however old they are: a stack that rests for a year can still be restored.
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
  # Two changes of a bucket's access at once conflict.
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

  # A backend with `encrypt = true` asks for S3's own key and would get it.
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
