# The stack edge: CI may plan and apply it if edge_zone_id says for which zone. It identifies certificates and
# distributions by their tag, as described in ci-apply.tf, and the other resources by their name.

locals {
  # CloudFront reads certificates and web ACLs from us-east-1.
  edge_certificates = [for region in distinct([var.region, "us-east-1"]) : "arn:${local.partition}:acm:${region}:${local.account}:certificate/*"]
  edge_web_acls = [
    "arn:${local.partition}:wafv2:${local.here}:regional/webacl/${var.cluster_name}/*",
    "arn:${local.partition}:wafv2:us-east-1:${local.account}:global/webacl/${var.cluster_name}-cloudfront/*",
  ]
  edge_log_groups = [
    "arn:${local.partition}:logs:${local.here}:log-group:aws-waf-logs-${var.cluster_name}*",
    "arn:${local.partition}:logs:us-east-1:${local.account}:log-group:aws-waf-logs-${var.cluster_name}-cloudfront*",
  ]
  edge_cloudfront = [for type in ["distribution", "vpcorigin"] : "arn:${local.partition}:cloudfront:${local.global}:${type}/*"]
  # The prefix that the load balancer controller gives to the load balancers of Ingresses.
  edge_load_balancers = "arn:${local.partition}:elasticloadbalancing:${local.here}:loadbalancer/app/k8s-*"
}

data "aws_iam_policy_document" "read_edge" {
  #checkov:skip=CKV_AWS_356: the actions return only metadata, and several do not support resource-level permissions
  statement {
    sid = "Metadata"
    actions = [
      "acm:DescribeCertificate",
      "acm:ListTagsForCertificate",
      "cloudfront:GetDistribution",
      "cloudfront:GetVpcOrigin",
      "cloudfront:ListTagsForResource",
      "ec2:GetManagedPrefixListEntries",
      "elasticloadbalancing:Describe*",
      "logs:DescribeResourcePolicies",
      "route53:GetChange",
      "route53:GetHostedZone",
      "route53:ListHostedZones",
      "route53:ListResourceRecordSets",
      "route53:ListTagsForResource",
      "wafv2:GetLoggingConfiguration",
      "wafv2:GetWebACL",
      "wafv2:GetWebACLForResource",
      "wafv2:ListTagsForResource",
    ]
    resources = ["*"]
  }
}

data "aws_iam_policy_document" "apply_edge" {
  #checkov:skip=CKV_AWS_111: the log delivery and the policies of CloudWatch Logs have no resources
  #checkov:skip=CKV_AWS_356: the log delivery and the policies of CloudWatch Logs have no resources
  statement {
    sid       = "Records"
    actions   = ["route53:ChangeResourceRecordSets"]
    resources = ["arn:${local.partition}:route53:::hostedzone/${coalesce(var.edge_zone_id, "none")}"]
  }

  statement {
    sid       = "CreateTagged"
    actions   = ["acm:AddTagsToCertificate", "acm:RequestCertificate", "cloudfront:CreateDistribution", "cloudfront:CreateVpcOrigin"]
    resources = concat(local.edge_certificates, local.edge_cloudfront)

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/${local.part_of_tag}"
      values   = [var.cluster_name]
    }
  }

  # CloudFront has no condition for tags at creation, so this covers all resources without our tag key. If the account has
  # other distributions, give them this tag with another value.
  statement {
    sid       = "TagCreated"
    actions   = ["cloudfront:TagResource"]
    resources = local.edge_cloudfront

    condition {
      test     = "StringEqualsIfExists"
      variable = "aws:ResourceTag/${local.part_of_tag}"
      values   = [var.cluster_name]
    }
  }

  statement {
    sid = "ChangeTagged"
    actions = [
      "acm:DeleteCertificate",
      "acm:RemoveTagsFromCertificate",
      "cloudfront:DeleteDistribution",
      "cloudfront:DeleteVpcOrigin",
      "cloudfront:UntagResource",
      "cloudfront:UpdateDistribution",
      "cloudfront:UpdateVpcOrigin",
    ]
    resources = concat(local.edge_certificates, local.edge_cloudfront)

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/${local.part_of_tag}"
      values   = [var.cluster_name]
    }
  }

  statement {
    sid = "WebAcls"
    actions = [
      "wafv2:AssociateWebACL",
      "wafv2:CreateWebACL",
      "wafv2:DeleteLoggingConfiguration",
      "wafv2:DeleteWebACL",
      "wafv2:PutLoggingConfiguration",
      "wafv2:TagResource",
      "wafv2:UntagResource",
      "wafv2:UpdateWebACL",
    ]
    resources = local.edge_web_acls
  }

  # WAF also checks the rule groups that a web ACL refers to, which belong to AWS.
  statement {
    sid       = "ManagedRules"
    actions   = ["wafv2:CreateWebACL", "wafv2:UpdateWebACL"]
    resources = ["arn:${local.partition}:wafv2:*:${local.account}:*/managedruleset/*"]
  }

  statement {
    sid       = "AttachWebAcl"
    actions   = ["elasticloadbalancing:SetWebAcl", "wafv2:AssociateWebACL", "wafv2:DisassociateWebACL"]
    resources = [local.edge_load_balancers]
  }

  statement {
    sid = "WebAclLogs"
    actions = [
      "logs:CreateLogGroup",
      "logs:DeleteLogGroup",
      "logs:PutRetentionPolicy",
      "logs:TagResource",
      "logs:UntagResource",
    ]
    resources = local.edge_log_groups
  }

  statement {
    sid = "LogDelivery"
    actions = [
      "logs:CreateLogDelivery",
      "logs:DeleteLogDelivery",
      "logs:DeleteResourcePolicy",
      "logs:PutResourcePolicy",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "ServiceLinkedRoles"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["arn:${local.partition}:iam:${local.global}:role/aws-service-role/*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["vpcorigin.cloudfront.amazonaws.com", "wafv2.amazonaws.com"]
    }
  }
}

resource "aws_iam_policy" "edge" {
  for_each = var.edge_zone_id == null ? {} : {
    read  = data.aws_iam_policy_document.read_edge.json
    apply = data.aws_iam_policy_document.apply_edge.json
  }

  name        = "${local.name}-edge-${each.key}"
  description = "What CI needs for the stack edge: ${each.key}"
  policy      = each.value
}

resource "aws_iam_role_policy_attachment" "edge" {
  for_each = var.edge_zone_id == null ? {} : {
    "plan/read"   = { role = "plan", policy = "read" }
    "apply/read"  = { role = "apply", policy = "read" }
    "apply/apply" = { role = "apply", policy = "apply" }
  }

  role       = aws_iam_role.ci[each.value.role].name
  policy_arn = aws_iam_policy.edge[each.value.policy].arn
}
