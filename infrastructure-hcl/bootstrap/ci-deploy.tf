# deploy: finds the cluster, the image, and in the data stack's state the names of secrets and the networks of database
# and cache. That state contains no passwords. The cluster stack's access entry defines its permissions in Kubernetes.

locals {
  data_state_key = "${var.environment}/data.tfstate"
}

data "aws_iam_policy_document" "deploy" {
  statement {
    sid       = "FindCluster"
    actions   = ["eks:DescribeCluster"]
    resources = ["arn:${local.partition}:eks:${local.here}:cluster/${var.cluster_name}"]
  }

  statement {
    sid       = "FindImage"
    actions   = ["ecr:DescribeImages", "ecr:DescribeRepositories"]
    resources = ["arn:${local.partition}:ecr:${local.here}:repository/${var.image_repository}"]
  }

  statement {
    sid       = "ReadDataState"
    actions   = ["s3:GetObject"]
    resources = ["${local.state_bucket_arn}/${local.data_state_key}"]
  }

  # Without it, S3 answers that access is denied if there is no such state.
  statement {
    sid       = "FindDataState"
    actions   = ["s3:ListBucket"]
    resources = [local.state_bucket_arn]

    condition {
      test     = "StringEquals"
      variable = "s3:prefix"
      values   = [local.data_state_key]
    }
  }
}

resource "aws_iam_role_policy" "deploy" {
  name   = "find-cluster-image-and-data"
  role   = aws_iam_role.ci["deploy"].name
  policy = data.aws_iam_policy_document.deploy.json
}
