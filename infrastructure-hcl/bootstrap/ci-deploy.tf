# deploy: finds the cluster and the image. The cluster stack's access entry defines its permissions in Kubernetes.

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
}

resource "aws_iam_role_policy" "deploy" {
  name   = "find-cluster-and-image"
  role   = aws_iam_role.ci["deploy"].name
  policy = data.aws_iam_policy_document.deploy.json
}
