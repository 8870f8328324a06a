# deploy: finds the cluster, the image and the certificate, and in the states of the stacks data and edge the names of
# secrets, the networks of database and cache, and values of the Ingress. These states contain no passwords. The cluster
# stack's access entry defines its permissions in Kubernetes.

locals {
  deploy_state_keys = [for stack in ["data", "edge"] : "${var.environment}/${stack}.tfstate"]
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
    sid       = "ReadStates"
    actions   = ["s3:GetObject"]
    resources = [for key in local.deploy_state_keys : "${local.state_bucket_arn}/${key}"]
  }

  # Without it, S3 answers that access is denied if there is no such state.
  statement {
    sid       = "FindStates"
    actions   = ["s3:ListBucket"]
    resources = [local.state_bucket_arn]

    condition {
      test     = "StringEquals"
      variable = "s3:prefix"
      values   = local.deploy_state_keys
    }
  }
}

resource "aws_iam_role_policy" "deploy" {
  name   = "find-cluster-image-and-data"
  role   = aws_iam_role.ci["deploy"].name
  policy = data.aws_iam_policy_document.deploy.json
}
