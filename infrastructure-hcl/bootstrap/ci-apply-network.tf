# apply: what it changes for the network stack. It creates only resources with our tag (part_of_tag), and changes only
# those.

locals {
  # The types of EC2's resources that the network stack creates. Security groups are in ci-apply.tf.
  network_types = [
    "elastic-ip",
    "internet-gateway",
    "natgateway",
    "network-interface",
    "route-table",
    "subnet",
    "vpc",
    "vpc-endpoint",
    "vpc-flow-log",
  ]
  network_arns = [for type in local.network_types : "arn:${local.partition}:ec2:${local.here}:${type}/*"]
}

data "aws_iam_policy_document" "apply_network" {
  statement {
    sid = "CreateTagged"
    actions = [
      "ec2:AllocateAddress",
      "ec2:CreateFlowLogs",
      "ec2:CreateInternetGateway",
      "ec2:CreateNatGateway",
      "ec2:CreateNetworkInterface",
      "ec2:CreateRouteTable",
      "ec2:CreateSubnet",
      "ec2:CreateVpc",
      "ec2:CreateVpcEndpoint",
    ]
    resources = local.network_arns

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/${local.part_of_tag}"
      values   = [var.cluster_name]
    }
  }

  # What a new resource is created in or attached to.
  statement {
    sid = "CreateInTagged"
    actions = [
      "ec2:CreateFlowLogs",
      "ec2:CreateNatGateway",
      "ec2:CreateNetworkInterface",
      "ec2:CreateRouteTable",
      "ec2:CreateSubnet",
      "ec2:CreateVpcEndpoint",
      "ec2:RunInstances",
    ]
    resources = concat(local.network_arns, ["arn:${local.partition}:ec2:${local.here}:security-group/*"])

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/${local.part_of_tag}"
      values   = [var.cluster_name]
    }
  }

  statement {
    sid = "ChangeTagged"
    actions = [
      "ec2:AssociateAddress",
      "ec2:AssociateRouteTable",
      "ec2:AttachInternetGateway",
      "ec2:CreateRoute",
      "ec2:CreateTags",
      "ec2:DeleteFlowLogs",
      "ec2:DeleteInternetGateway",
      "ec2:DeleteNatGateway",
      "ec2:DeleteNetworkInterface",
      "ec2:DeleteRoute",
      "ec2:DeleteRouteTable",
      "ec2:DeleteSubnet",
      "ec2:DeleteTags",
      "ec2:DeleteVpc",
      "ec2:DeleteVpcEndpoints",
      "ec2:DetachInternetGateway",
      "ec2:DetachNetworkInterface",
      "ec2:DisassociateAddress",
      "ec2:DisassociateRouteTable",
      "ec2:ModifyInstanceAttribute",
      "ec2:ModifyNetworkInterfaceAttribute",
      "ec2:ModifySubnetAttribute",
      "ec2:ModifyVpcAttribute",
      "ec2:ModifyVpcEndpoint",
      "ec2:ReleaseAddress",
      "ec2:ReplaceRoute",
      "ec2:ReplaceRouteTableAssociation",
      "ec2:StartInstances",
      "ec2:StopInstances",
      "ec2:TerminateInstances",
    ]
    resources = concat(local.network_arns, ["arn:${local.partition}:ec2:${local.here}:instance/*"])

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/${local.part_of_tag}"
      values   = [var.cluster_name]
    }
  }

  # The tags of a resource in the request that creates it.
  statement {
    sid       = "TagCreated"
    actions   = ["ec2:CreateTags"]
    resources = local.network_arns

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values = [
        "AllocateAddress",
        "CreateFlowLogs",
        "CreateInternetGateway",
        "CreateNatGateway",
        "CreateNetworkInterface",
        "CreateRouteTable",
        "CreateSubnet",
        "CreateVpc",
        "CreateVpcEndpoint",
      ]
    }
  }

  statement {
    sid       = "NatInstance"
    actions   = ["ec2:RunInstances"]
    resources = ["arn:${local.partition}:ec2:${local.here}:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/${local.part_of_tag}"
      values   = [var.cluster_name]
    }

    condition {
      test     = "StringLike"
      variable = "ec2:InstanceType"
      values   = ["t4g.*"]
    }
  }

  statement {
    sid       = "NatInstanceVolume"
    actions   = ["ec2:RunInstances"]
    resources = ["arn:${local.partition}:ec2:${local.here}:volume/*"]
  }

  statement {
    sid       = "NatInstanceImage"
    actions   = ["ec2:RunInstances"]
    resources = ["arn:${local.partition}:ec2:${var.region}::image/*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:Owner"
      values   = ["amazon"]
    }
  }

  # AWS creates the default security group with the VPC, without our tag. Permission to tag it would be permission to take
  # over any other group, so this only allows emptying groups.
  statement {
    sid       = "EmptyDefaultSecurityGroup"
    actions   = ["ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress"]
    resources = ["arn:${local.partition}:ec2:${local.here}:security-group/*"]
  }
}
