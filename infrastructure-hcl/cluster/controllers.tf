# AWS resources for the controllers in the cluster. The platform stack installs the controllers.

module "karpenter" {
  #checkov:skip=CKV_TF_1: the version is exact: see module eks
  source  = "terraform-aws-modules/eks/aws//modules/karpenter"
  version = "21.19.0"

  cluster_name = module.eks.cluster_name

  iam_role_name            = "${var.cluster_name}-karpenter"
  iam_role_use_name_prefix = false
  # As a managed policy, it would exceed IAM's limit of 6,144 characters.
  enable_inline_policy = true

  iam_role_permissions_boundary_arn  = local.permissions_boundary
  node_iam_role_permissions_boundary = local.permissions_boundary

  # The name must be fixed, because Karpenter's EC2NodeClass refers to it.
  node_iam_role_name            = "${var.cluster_name}-karpenter-node"
  node_iam_role_use_name_prefix = false

  namespace       = "kube-system"
  service_account = "karpenter"
  queue_name      = "${var.cluster_name}-karpenter"
}

module "load_balancer_controller_role" {
  #checkov:skip=CKV_TF_1: the version is exact: see module eks
  source  = "terraform-aws-modules/iam/aws//modules/iam-role-for-service-accounts"
  version = "6.5.0"

  name            = "${var.cluster_name}-load-balancer-controller"
  use_name_prefix = false

  permissions_boundary = local.permissions_boundary

  attach_load_balancer_controller_policy = true
  policy_name                            = "${var.cluster_name}-load-balancer-controller"

  oidc_providers = {
    cluster = {
      provider_arn               = module.eks.oidc_provider_arn
      namespace_service_accounts = ["kube-system:aws-load-balancer-controller"]
    }
  }
}

resource "aws_iam_role" "ebs_csi" {
  name                 = "${var.cluster_name}-ebs-csi"
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

# This version of the policy covers only volumes that the driver has tagged. The first version covers all volumes of the
# account.
resource "aws_iam_role_policy_attachment" "ebs_csi" {
  role       = aws_iam_role.ebs_csi.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonEBSCSIDriverPolicyV2"
}

resource "aws_iam_role" "cloudwatch_agent" {
  for_each = toset(var.container_insights ? ["agent"] : [])

  name                 = "${var.cluster_name}-cloudwatch-agent"
  permissions_boundary = local.permissions_boundary
  assume_role_policy   = aws_iam_role.ebs_csi.assume_role_policy
}

resource "aws_iam_role_policy_attachment" "cloudwatch_agent" {
  for_each = aws_iam_role.cloudwatch_agent

  role       = each.value.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/CloudWatchAgentServerPolicy"
}

# The agent would create it without a retention, and it would outlive the cluster.
resource "aws_cloudwatch_log_group" "container_insights" {
  #checkov:skip=CKV_AWS_158: CloudWatch encrypts it; its measurements are not secret
  #checkov:skip=CKV_AWS_338: measurements are needed for weeks, not for a year
  for_each = aws_iam_role.cloudwatch_agent

  name              = "/aws/containerinsights/${var.cluster_name}/performance"
  retention_in_days = var.log_retention_days
}
