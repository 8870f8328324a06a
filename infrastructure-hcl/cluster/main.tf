data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

# Only used for its postcondition.
# tflint-ignore: terraform_unused_declarations
data "aws_eks_cluster_versions" "standard" {
  version_status = "STANDARD_SUPPORT"
  lifecycle {
    postcondition {
      condition     = contains(self.cluster_versions[*].cluster_version, var.kubernetes_version)
      error_message = "EKS has no Kubernetes ${var.kubernetes_version} in standard support; it has ${join(", ", sort(self.cluster_versions[*].cluster_version))}."
    }
  }
}

locals {
  tags = {
    "app.kubernetes.io/part-of" = var.cluster_name
    environment                 = var.environment
    managed-by                  = "terraform"
  }

  permissions_boundary = var.permissions_boundary == null ? null : join(":", [
    "arn", data.aws_partition.current.partition, "iam", "", data.aws_caller_identity.current.account_id, "policy/${var.permissions_boundary}",
  ])

  # EKS chooses this name.
  control_plane_log_group = "/aws/eks/${var.cluster_name}/cluster"

  access_policies = "arn:${data.aws_partition.current.partition}:eks::aws:cluster-access-policy"

  # The platform stack binds the deploy role in the service's namespace to this group.
  deploy_group = "fastify-app:deploy"

  # The namespaces of the platform stack's releases. Planners can read Secrets in them, because Helm stores releases
  # there. They cannot read the service's Secrets.
  release_namespaces = ["kube-system", "monitoring"]

  # Label of the managed group's nodes, which Karpenter and the other controllers select.
  system_node_labels = { "node.fastify-eks/role" = "system" }

  # The network interfaces of a t4g.small have addresses for only 11 pods, and the node's own agents use four of them.
  # With prefix delegation, memory is the limit instead: with 20 pods, each has about 65 MiB of the 1.3 GiB that the
  # kubelet can allocate.
  system_node_max_pods = 20
}

data "aws_kms_key" "secrets" {
  for_each = toset(var.secrets_key == null ? [] : [var.secrets_key])

  key_id = each.key
}

# The control plane still writes logs while EKS deletes it, and EKS recreates the log group for them. An apply after a
# destroy imports this group, because creating it would fail.
data "aws_cloudwatch_log_groups" "control_plane" {
  log_group_name_prefix = local.control_plane_log_group
}

import {
  for_each = toset([for name in data.aws_cloudwatch_log_groups.control_plane.log_group_names : name if name == local.control_plane_log_group])
  to       = module.eks.aws_cloudwatch_log_group.this[0]
  id       = each.key
}

module "eks" {
  #checkov:skip=CKV_TF_1: the version is exact, and the registry never changes a published version
  source  = "terraform-aws-modules/eks/aws"
  version = "21.19.0"

  name               = var.cluster_name
  kubernetes_version = var.kubernetes_version

  vpc_id     = data.aws_vpc.this.id
  subnet_ids = [for subnet in data.aws_subnet.private : subnet.id]

  endpoint_private_access = true
  endpoint_public_access  = length(var.endpoint_public_access_cidrs) > 0
  # EKS refuses an empty list. If you empty the variable later, the closed endpoint keeps the previous list.
  endpoint_public_access_cidrs = length(var.endpoint_public_access_cidrs) > 0 ? var.endpoint_public_access_cidrs : null

  # At the end of standard support, EKS upgrades the cluster. With the default, EXTENDED, the price rises sixfold
  # instead.
  upgrade_policy = { support_type = "STANDARD" }

  encryption_config = {
    resources        = ["secrets"]
    provider_key_arn = one(values(data.aws_kms_key.secrets)[*].arn)
  }
  create_kms_key          = var.secrets_key == null
  enable_kms_key_rotation = true
  # Without administrators, only the role that creates the key could administer it.
  kms_key_administrators = var.access.admins

  iam_role_permissions_boundary = local.permissions_boundary

  enabled_log_types                      = var.log_types
  cloudwatch_log_group_retention_in_days = var.log_retention_days

  authentication_mode = "API"
  access_entries      = local.access_entries

  # AWS verifies the issuer with its own list of authorities. A pinned thumbprint would be unnecessary, and could
  # expire.
  include_oidc_root_ca_thumbprint = false

  addons = {
    for name, addon in local.addons : name => addon if !contains(local.addons_left_out, name)
  }

  # Only one security group may have this tag. With several, Karpenter's nodes would get all of them, and the load
  # balancer controller could not determine which one to open.
  node_security_group_tags = { "karpenter.sh/discovery" = var.cluster_name }

  eks_managed_node_groups = {
    system = {
      ami_type       = var.system_nodes.ami_type
      instance_types = [var.system_nodes.instance_type]
      # Keep the AMI until ami_release_version changes. Otherwise, any plan could include an unrelated node upgrade.
      use_latest_ami_release_version = false
      ami_release_version            = var.system_nodes.ami_release_version
      capacity_type                  = "ON_DEMAND"
      min_size                       = var.system_nodes.min_size
      max_size                       = var.system_nodes.max_size
      desired_size                   = var.system_nodes.desired_size
      labels                         = local.system_node_labels
      update_config                  = { max_unavailable = 1 }

      # Instances, volumes and network interfaces inherit neither the launch template's own tags nor the node group's.
      launch_template_tags = local.tags

      iam_role_name                 = "${var.cluster_name}-system"
      iam_role_use_name_prefix      = false
      iam_role_permissions_boundary = local.permissions_boundary

      metadata_options = {
        http_endpoint               = "enabled"
        http_tokens                 = "required"
        http_put_response_hop_limit = 1
      }

      block_device_mappings = {
        root = {
          device_name = "/dev/xvda"
          ebs = {
            volume_size           = var.system_nodes.disk_gib
            volume_type           = "gp3"
            encrypted             = true
            delete_on_termination = true
          }
        }
      }

      cloudinit_pre_nodeadm = [{
        content_type = "application/node.eks.aws"
        content = yamlencode({
          apiVersion = "node.eks.aws/v1alpha1"
          kind       = "NodeConfig"
          spec       = { kubelet = { config = { maxPods = local.system_node_max_pods } } }
        })
      }]
    }
  }

  deletion_protection = var.deletion_protection
}

locals {
  # Each add-on uses the default version for the cluster's Kubernetes version, so it changes only with
  # kubernetes_version.
  addons = {
    vpc-cni = {
      before_compute = true
      most_recent    = false
      configuration_values = jsonencode({
        env = {
          ENABLE_PREFIX_DELEGATION = "true"
          WARM_PREFIX_TARGET       = "1"
        }
        enableNetworkPolicy = "true"
      })
    }
    eks-pod-identity-agent = { before_compute = true, most_recent = false }
    kube-proxy             = { most_recent = false }
    coredns                = { most_recent = false }
    metrics-server         = { most_recent = false }
    # Required by the platform's StorageClass.
    aws-ebs-csi-driver = {
      most_recent = false
      # A volume outlives the cluster if its claim is not deleted. `make destroy` finds such volumes by this tag.
      configuration_values = jsonencode({
        controller = { extraVolumeTags = { "ebs.csi.aws.com/cluster-name" = var.cluster_name } }
      })
      pod_identity_association = [{
        role_arn        = aws_iam_role.ebs_csi.arn
        service_account = "ebs-csi-controller-sa"
      }]
    }
    # It could also send the pods' logs, at the price of their ingestion.
    amazon-cloudwatch-observability = {
      most_recent          = false
      configuration_values = jsonencode({ containerLogs = { enabled = false } })
      pod_identity_association = [for role in aws_iam_role.cloudwatch_agent : {
        role_arn        = role.arn
        service_account = "cloudwatch-agent"
      }]
    }
  }

  addons_left_out = concat(
    var.metrics_server_addon ? [] : ["metrics-server"],
    var.container_insights ? [] : ["amazon-cloudwatch-observability"],
  )

  access_entries = merge(
    { for arn in var.access.admins : "admin:${arn}" => {
      principal_arn = arn
      policy_associations = {
        admin = {
          policy_arn   = "${local.access_policies}/AmazonEKSClusterAdminPolicy"
          access_scope = { type = "cluster" }
        }
      }
    } },
    { for arn in var.access.deployers : "deploy:${arn}" => {
      principal_arn     = arn
      kubernetes_groups = [local.deploy_group]
    } },
    { for arn in var.access.planners : "plan:${arn}" => {
      principal_arn = arn
      policy_associations = {
        releases = {
          policy_arn   = "${local.access_policies}/AmazonEKSAdminViewPolicy"
          access_scope = { type = "namespace", namespaces = local.release_namespaces }
        }
      }
    } },
    { for arn in var.access.readers : "read:${arn}" => {
      principal_arn = arn
      policy_associations = {
        view = {
          policy_arn   = "${local.access_policies}/AmazonEKSViewPolicy"
          access_scope = { type = "cluster" }
        }
      }
    } },
  )
}
