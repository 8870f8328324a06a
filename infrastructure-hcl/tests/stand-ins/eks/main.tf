data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  policies = "arn:${data.aws_partition.current.partition}:iam::aws:policy"
  associations = merge([
    for entry_key, entry in var.access_entries : {
      for policy_key, policy in entry.policy_associations :
      "${entry_key}/${policy_key}" => merge(policy, { principal_arn = entry.principal_arn })
    }
  ]...)
}

# Has the same address as in the real module, so that `make apply` can import a cluster that an interrupted run
# created. Both attributes apply only at creation, and an import does not set them.
resource "aws_eks_cluster" "this" {
  count = 1

  name                          = var.name
  version                       = var.kubernetes_version
  role_arn                      = aws_iam_role.cluster.arn
  enabled_cluster_log_types     = var.enabled_log_types
  bootstrap_self_managed_addons = false

  access_config {
    authentication_mode                         = var.authentication_mode
    bootstrap_cluster_creator_admin_permissions = false
  }

  vpc_config {
    subnet_ids              = var.subnet_ids
    security_group_ids      = [aws_security_group.cluster.id]
    endpoint_private_access = var.endpoint_private_access
    endpoint_public_access  = var.endpoint_public_access
    public_access_cidrs     = var.endpoint_public_access_cidrs
  }

  encryption_config {
    resources = var.encryption_config.resources
    provider { key_arn = var.create_kms_key ? aws_kms_key.this[0].arn : var.encryption_config.provider_key_arn }
  }

  upgrade_policy {
    support_type = var.upgrade_policy.support_type
  }

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy_attachment.cluster]

  lifecycle {
    ignore_changes = [access_config[0].bootstrap_cluster_creator_admin_permissions, bootstrap_self_managed_addons]
  }
}

# Has the same address as in the real module, for the stack's import block.
resource "aws_cloudwatch_log_group" "this" {
  count = 1

  name              = "/aws/eks/${var.name}/cluster"
  retention_in_days = var.cloudwatch_log_group_retention_in_days
}

resource "aws_kms_key" "this" {
  count = var.create_kms_key ? 1 : 0

  description         = "${var.name} secrets"
  enable_key_rotation = var.enable_kms_key_rotation
  policy              = data.aws_iam_policy_document.key.json
}

data "aws_iam_policy_document" "key" {
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }

  statement {
    sid       = "Administrators"
    actions   = ["kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*", "kms:ScheduleKeyDeletion"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = var.kms_key_administrators
    }
  }
}

resource "aws_iam_role" "cluster" {
  name_prefix          = "${var.name}-cluster-"
  permissions_boundary = var.iam_role_permissions_boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { Service = "eks.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "${local.policies}/AmazonEKSClusterPolicy"
}

resource "aws_security_group" "cluster" {
  name_prefix = "${var.name}-cluster-"
  description = "EKS cluster security group"
  vpc_id      = var.vpc_id
}

resource "aws_security_group" "node" {
  name_prefix = "${var.name}-node-"
  description = "EKS node shared security group"
  vpc_id      = var.vpc_id
  tags        = merge({ "kubernetes.io/cluster/${var.name}" = "owned" }, var.node_security_group_tags)
}

resource "aws_security_group_rule" "cluster_from_nodes" {
  security_group_id        = aws_security_group.cluster.id
  description              = "Node groups to cluster API"
  type                     = "ingress"
  source_security_group_id = aws_security_group.node.id
  protocol                 = "tcp"
  from_port                = 443
  to_port                  = 443
}

resource "aws_security_group_rule" "node_from_cluster" {
  for_each = { kubelet = 10250, metrics = 10251, webhook = 9443 }

  security_group_id        = aws_security_group.node.id
  description              = "Cluster API to node ${each.key}"
  type                     = "ingress"
  source_security_group_id = aws_security_group.cluster.id
  protocol                 = "tcp"
  from_port                = each.value
  to_port                  = each.value
}

resource "aws_security_group_rule" "node_egress" {
  security_group_id = aws_security_group.node.id
  description       = "Allow all egress"
  type              = "egress"
  cidr_blocks       = ["0.0.0.0/0"]
  protocol          = "-1"
  from_port         = 0
  to_port           = 0
}

resource "aws_iam_openid_connect_provider" "this" {
  url             = aws_eks_cluster.this[0].identity[0].oidc[0].issuer
  client_id_list  = ["sts.amazonaws.com"]
  thumbprint_list = []
}

resource "aws_eks_access_entry" "this" {
  for_each = var.access_entries

  cluster_name      = aws_eks_cluster.this[0].name
  principal_arn     = each.value.principal_arn
  kubernetes_groups = each.value.kubernetes_groups
}

resource "aws_eks_access_policy_association" "this" {
  for_each = local.associations

  cluster_name  = aws_eks_cluster.this[0].name
  principal_arn = each.value.principal_arn
  policy_arn    = each.value.policy_arn

  access_scope {
    type       = each.value.access_scope.type
    namespaces = each.value.access_scope.namespaces
  }

  depends_on = [aws_eks_access_entry.this]
}

data "aws_eks_addon_version" "this" {
  for_each = var.addons

  addon_name         = each.key
  kubernetes_version = aws_eks_cluster.this[0].version
  most_recent        = each.value.most_recent
}

resource "aws_eks_addon" "before_compute" {
  for_each = { for name, addon in var.addons : name => addon if addon.before_compute }

  cluster_name                = aws_eks_cluster.this[0].name
  addon_name                  = each.key
  addon_version               = data.aws_eks_addon_version.this[each.key].version
  configuration_values        = each.value.configuration_values
  resolve_conflicts_on_update = "OVERWRITE"
}

resource "aws_eks_addon" "this" {
  for_each = { for name, addon in var.addons : name => addon if !addon.before_compute }

  cluster_name                = aws_eks_cluster.this[0].name
  addon_name                  = each.key
  addon_version               = data.aws_eks_addon_version.this[each.key].version
  configuration_values        = each.value.configuration_values
  resolve_conflicts_on_update = "OVERWRITE"

  dynamic "pod_identity_association" {
    for_each = each.value.pod_identity_association == null ? [] : each.value.pod_identity_association

    content {
      role_arn        = pod_identity_association.value.role_arn
      service_account = pod_identity_association.value.service_account
    }
  }

  depends_on = [aws_eks_node_group.this]
}

resource "aws_iam_role" "node" {
  for_each = var.eks_managed_node_groups

  name                 = each.value.iam_role_use_name_prefix ? null : each.value.iam_role_name
  name_prefix          = each.value.iam_role_use_name_prefix ? "${each.value.iam_role_name}-" : null
  permissions_boundary = each.value.iam_role_permissions_boundary
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = {
    for pair in setproduct(keys(var.eks_managed_node_groups), [
      "AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryReadOnly", "AmazonEKS_CNI_Policy",
    ]) : join("/", pair) => { group = pair[0], policy = pair[1] }
  }

  role       = aws_iam_role.node[each.value.group].name
  policy_arn = "${local.policies}/${each.value.policy}"
}

resource "aws_launch_template" "this" {
  for_each = var.eks_managed_node_groups

  name_prefix            = "${each.key}-"
  update_default_version = true
  vpc_security_group_ids = [aws_security_group.node.id]
  user_data = base64encode(join("\n", flatten([
    "MIME-Version: 1.0",
    "Content-Type: multipart/mixed; boundary=MIMEBOUNDARY",
    [for part in each.value.cloudinit_pre_nodeadm : ["", "--MIMEBOUNDARY", "Content-Type: ${part.content_type}", "", part.content]],
    "--MIMEBOUNDARY--",
    "",
  ])))

  tags = each.value.launch_template_tags

  dynamic "tag_specifications" {
    for_each = toset(["instance", "network-interface", "volume"])

    content {
      resource_type = tag_specifications.key
      tags          = merge({ Name = each.key }, each.value.launch_template_tags)
    }
  }

  metadata_options {
    http_endpoint               = each.value.metadata_options.http_endpoint
    http_tokens                 = each.value.metadata_options.http_tokens
    http_put_response_hop_limit = each.value.metadata_options.http_put_response_hop_limit
  }

  dynamic "block_device_mappings" {
    for_each = each.value.block_device_mappings

    content {
      device_name = block_device_mappings.value.device_name

      ebs {
        volume_size           = block_device_mappings.value.ebs.volume_size
        volume_type           = block_device_mappings.value.ebs.volume_type
        encrypted             = block_device_mappings.value.ebs.encrypted
        delete_on_termination = block_device_mappings.value.ebs.delete_on_termination
      }
    }
  }
}

resource "aws_eks_node_group" "this" {
  for_each = var.eks_managed_node_groups

  cluster_name           = aws_eks_cluster.this[0].name
  node_group_name_prefix = "${each.key}-"
  node_role_arn          = aws_iam_role.node[each.key].arn
  subnet_ids             = var.subnet_ids
  ami_type               = each.value.ami_type
  capacity_type          = each.value.capacity_type
  instance_types         = each.value.instance_types
  version                = var.kubernetes_version
  release_version        = each.value.ami_release_version
  labels                 = each.value.labels

  launch_template {
    id      = aws_launch_template.this[each.key].id
    version = aws_launch_template.this[each.key].default_version
  }

  scaling_config {
    min_size     = each.value.min_size
    max_size     = each.value.max_size
    desired_size = each.value.desired_size
  }

  update_config {
    max_unavailable = each.value.update_config.max_unavailable
  }

  depends_on = [aws_eks_addon.before_compute, aws_iam_role_policy_attachment.node]

  lifecycle {
    create_before_destroy = true
    ignore_changes        = [scaling_config[0].desired_size]
  }
}
