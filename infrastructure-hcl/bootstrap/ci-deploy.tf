# deploy: finds the cluster, the image and the certificate. The cluster stack's access entry defines its permissions in Kubernetes.

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

  # The outputs of the stack edge are values of the Ingress. Its state contains no secret.
  statement {
    sid       = "FindState"
    actions   = ["s3:ListBucket"]
    resources = [local.state_bucket_arn]
  }

  statement {
    sid       = "ReadEdge"
    actions   = ["s3:GetObject"]
    resources = ["${local.state_bucket_arn}/${var.environment}/edge.tfstate"]
  }
}

resource "aws_iam_role_policy" "deploy" {
  name   = "find-cluster-and-image"
  role   = aws_iam_role.ci["deploy"].name
  policy = data.aws_iam_policy_document.deploy.json
}
