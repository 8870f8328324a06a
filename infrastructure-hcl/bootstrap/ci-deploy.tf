# deploy: finds the cluster, no more. What it may do inside comes from the cluster stack's access entry.

data "aws_iam_policy_document" "deploy" {
  statement {
    sid       = "FindCluster"
    actions   = ["eks:DescribeCluster"]
    resources = ["arn:${local.partition}:eks:${local.here}:cluster/${var.cluster_name}"]
  }
}

resource "aws_iam_role_policy" "deploy" {
  name   = "find-cluster"
  role   = aws_iam_role.ci["deploy"].name
  policy = data.aws_iam_policy_document.deploy.json
}
