# Tests who can assume CI's roles and what these roles can do. No run contacts AWS: every run is a plan, and overrides
# provide what only AWS knows.

provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_resource {
  target          = aws_kms_key.state
  override_during = plan
  values          = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
}

override_resource {
  target          = aws_kms_key.secrets
  override_during = plan
  values          = { arn = "arn:aws:kms:eu-central-1:123456789012:key/66666666-7777-8888-9999-000000000000" }
}

variables {
  environment        = "dev"
  region             = "eu-central-1"
  repository         = { name = "example/service", id = "456", owner_id = "123" }
  monthly_budget_usd = 100
  budget_emails      = ["somebody@example.com"]
}

run "only_this_repository_gets_in" {
  command = plan

  assert {
    condition = alltrue([
      for document in data.aws_iam_policy_document.trust : alltrue([
        for statement in jsondecode(document.json).Statement :
        statement.Condition.StringEquals["token.actions.githubusercontent.com:repository_id"] == "456" &&
        statement.Condition.StringEquals["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"
      ])
    ])
    error_message = "every trust policy must check the repository's id and the audience"
  }

  assert {
    condition     = alltrue([for document in data.aws_iam_policy_document.trust : !strcontains(document.json, "StringLike")])
    error_message = "no trust policy may use patterns"
  }
}

run "pull_requests_only_plan" {
  command = plan

  assert {
    condition = toset(flatten([for statement in jsondecode(data.aws_iam_policy_document.trust["plan"].json).Statement :
      statement.Condition.StringEquals["token.actions.githubusercontent.com:sub"]
      ])) == toset([
      "repo:example/service:pull_request", "repo:example@123/service@456:pull_request",
      "repo:example/service:ref:refs/heads/main", "repo:example@123/service@456:ref:refs/heads/main",
    ])
    error_message = "plan must accept pull requests and the branch, in both formats of GitHub's subject"
  }

  assert {
    condition = alltrue([for role in ["apply", "release", "deploy"] :
      !strcontains(data.aws_iam_policy_document.trust[role].json, "pull_request")
    ])
    error_message = "no other role may accept pull requests"
  }
}

run "other_roles_require_the_branch_and_their_own_environment" {
  command = plan

  variables {
    environment = "prod"
    branch      = "trunk"
  }

  assert {
    condition = alltrue([
      for role, name in { apply = "prod-infrastructure", release = "prod-images", deploy = "prod" } : alltrue([
        for statement in jsondecode(data.aws_iam_policy_document.trust[role].json).Statement :
        statement.Condition.StringEquals["token.actions.githubusercontent.com:ref"] == "refs/heads/trunk" &&
        toset(statement.Condition.StringEquals["token.actions.githubusercontent.com:sub"]) ==
        toset(["repo:example/service:environment:${name}", "repo:example@123/service@456:environment:${name}"])
      ])
    ])
    error_message = "apply, release and deploy must each require their own environment and the branch"
  }
}

run "plan_writes_nothing" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for policy in [data.aws_iam_policy_document.read_stacks.json, data.aws_iam_policy_document.read_edge.json, aws_iam_role_policy.state_key["plan"].policy] : [
        for statement in jsondecode(policy).Statement : [
          for action in flatten([statement.Action]) :
          can(regex("^[a-z0-9-]+:(Describe|Get|List|View|Decrypt)[A-Za-z]*\\*?$", action))
        ]
      ]
    ]))
    error_message = "plan may only read: it must not write or delete anything, not even a lock"
  }

  assert {
    condition     = !strcontains(data.aws_iam_policy_document.read_stacks.json, "bootstrap.tfstate")
    error_message = "CI must not read this stack's own state"
  }
}

run "apply_cannot_take_over_a_key" {
  command = plan

  # With permission to tag keys, or with permissions that depend on a key's tag or alias, apply could change any key's
  # policy.
  assert {
    condition = alltrue(flatten([
      for policy in [
        data.aws_iam_policy_document.apply_access.json,
        data.aws_iam_policy_document.apply_alarms.json,
        data.aws_iam_policy_document.apply_cluster.json,
        data.aws_iam_policy_document.apply_data.json,
        data.aws_iam_policy_document.read_stacks.json,
        aws_iam_role_policy.lend_secrets_key.policy,
        aws_iam_role_policy.state_key["apply"].policy,
        ] : [
        for statement in jsondecode(policy).Statement : [
          for action in flatten([statement.Action]) : anytrue([
            can(regex("^kms:(Describe|Get|List)[A-Za-z]+$", action)),
            (
              contains(["kms:Decrypt", "kms:GenerateDataKey"], action) &&
              flatten([statement.Resource]) == [aws_kms_key.state.arn] &&
              try(statement.Condition.StringEquals["kms:ViaService"], "") == "s3.eu-central-1.amazonaws.com"
            ),
            (
              action == "kms:CreateGrant" &&
              flatten([statement.Resource]) == [aws_kms_key.secrets.arn] &&
              try(statement.Condition.Bool["kms:GrantIsForAWSResource"], "") == "true"
            ),
          ])
          if startswith(action, "kms:") || action == "*"
        ]
      ]
    ]))
    error_message = "apply may only read metadata of keys, use the state's key through S3 and grant EKS the use of the Secrets key"
  }
}

run "apply_creates_roles_only_within_the_boundary" {
  command = plan

  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.apply_access.json).Statement :
      statement.Condition.StringEquals["iam:PermissionsBoundary"] == "arn:aws:iam::123456789012:policy/fastify-eks-boundary"
      if length(setintersection(flatten([statement.Action]), [
        "iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy",
      ])) > 0
    ])
    error_message = "every statement that grants a role permissions must require the boundary"
  }

  assert {
    condition = alltrue([
      for document in [data.aws_iam_policy_document.apply_access, data.aws_iam_policy_document.apply_cluster] :
      !strcontains(document.json, "DeleteRolePermissionsBoundary") && !strcontains(document.json, "iam:*")
    ])
    error_message = "apply must not be able to remove the boundary"
  }

  assert {
    condition = alltrue(flatten([
      for statement in jsondecode(data.aws_iam_policy_document.apply_access.json).Statement : [
        for resource in flatten([statement.Resource]) : anytrue([
          can(regex(":(role|policy)/fastify-eks-cluster-\\*$", resource)),
          can(regex(":role/aws-service-role/\\*$", resource)),
          can(regex(":oidc-provider/oidc\\.eks\\.", resource)),
        ])
      ] if anytrue([for action in flatten([statement.Action]) : startswith(action, "iam:")])
    ]))
    error_message = "apply must have access only to the cluster's roles, policies and identity provider: not to its own role or GitHub's provider"
  }
}

run "apply_changes_only_networks_that_it_created" {
  command = plan

  # The tag marks what apply may change, so it may only set it on what it creates.
  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.apply_network.json).Statement : anytrue([
        try(statement.Condition.StringEquals["aws:RequestTag/app.kubernetes.io/part-of"], "") == "fastify-eks-cluster",
        try(statement.Condition.StringEquals["aws:ResourceTag/app.kubernetes.io/part-of"], "") == "fastify-eks-cluster",
        can(statement.Condition.StringEquals["ec2:CreateAction"]),
        contains(["NatInstanceVolume", "NatInstanceImage", "EmptyDefaultSecurityGroup"], statement.Sid),
      ])
    ])
    error_message = "every statement must depend on our tag, apart from what cannot have it"
  }

  assert {
    condition     = !can(regex("\"(ec2|iam|logs):\\*", data.aws_iam_policy_document.apply_network.json))
    error_message = "the policy must list its actions"
  }
}

run "the_boundary_prevents_escalation" {
  command = plan

  assert {
    condition = !can(regex(
      "\"(iam:(\\*|Create(Role|Policy|User|AccessKey)|Attach|Put|Update)|s3:|sts:|secretsmanager:(\\*|[A-CE-FH-Z]|Delete|GetR)|kms:(\\*|PutKeyPolicy|CreateGrant))",
      data.aws_iam_policy_document.boundary.json,
    ))
    error_message = "the boundary must not let a role change IAM or secrets, read buckets, assume another role or change key policies"
  }

  assert {
    condition = toset([
      for statement in jsondecode(data.aws_iam_policy_document.boundary.json).Statement :
      "${statement.Resource} ${can(statement.Condition.ArnLike["aws:ResourceTag/aws:rds:primaryDBInstanceArn"])}"
      if can(regex("secretsmanager:", jsonencode(statement.Action)))
      ]) == toset([
      "arn:aws:secretsmanager:eu-central-1:123456789012:secret:fastify-eks-cluster/* false",
      "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-* true",
    ])
    error_message = "the boundary must not let a role read secrets of other clusters or databases"
  }
}

run "apply_changes_only_this_clusters_alarms_and_schedules" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for statement in jsondecode(data.aws_iam_policy_document.apply_alarms.json).Statement : [
        for resource in flatten([statement.Resource]) : strcontains(resource, "fastify-eks-cluster-")
      ] if statement.Sid != "Subscriptions"
    ]))
    error_message = "every resource must carry the cluster's name"
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.apply_alarms.json).Statement :
      statement.Condition.StringEquals["iam:PassedToService"] == "scheduler.amazonaws.com" if contains(flatten([statement.Action]), "iam:PassRole")
    ])
    error_message = "apply may hand over roles only to the scheduler"
  }
}

run "cloudwatch_and_budgets_can_encrypt_notifications" {
  command = plan

  assert {
    condition = {
      for statement in jsondecode(aws_kms_key.alarms.policy).Statement : statement.Principal.Service => statement.Condition.StringEquals["aws:SourceAccount"]
      if can(statement.Principal.Service)
    } == { "budgets.amazonaws.com" = "123456789012", "cloudwatch.amazonaws.com" = "123456789012" }
    error_message = "without the key, their notifications are lost"
  }
}

run "release_pushes_to_one_repository" {
  command = plan

  assert {
    condition = toset([
      for statement in jsondecode(data.aws_iam_policy_document.release.json).Statement :
      statement.Resource if statement.Action != "ecr:GetAuthorizationToken"
    ]) == toset(["arn:aws:ecr:eu-central-1:123456789012:repository/fastify-app"])
    error_message = "release must have access only to the service's repository"
  }

  assert {
    condition     = !strcontains(data.aws_iam_policy_document.release.json, "Delete")
    error_message = "release must not delete images"
  }
}

run "deploy_finds_one_cluster_one_repositorys_images_and_one_state" {
  command = plan

  assert {
    condition = {
      for pair in flatten([
        for statement in jsondecode(data.aws_iam_policy_document.deploy.json).Statement : [
          for resource in flatten([statement.Resource]) : { resource = resource, actions = statement.Action }
        ]
      ]) : pair.resource => toset(flatten([pair.actions]))
      } == {
      "arn:aws:eks:eu-central-1:123456789012:cluster/fastify-eks-cluster" = toset(["eks:DescribeCluster"])
      "arn:aws:ecr:eu-central-1:123456789012:repository/fastify-app"      = toset(["ecr:DescribeImages", "ecr:DescribeRepositories"])
      (local.state_bucket_arn)                                            = toset(["s3:ListBucket"])
      "${local.state_bucket_arn}/${var.environment}/data.tfstate"         = toset(["s3:GetObject"])
      "${local.state_bucket_arn}/${var.environment}/edge.tfstate"         = toset(["s3:GetObject"])
    }
    error_message = "deploy must only be able to find the cluster and the image, and to read the outputs of data and edge"
  }
}

run "state_is_private_encrypted_and_kept" {
  command = plan

  assert {
    condition     = aws_s3_bucket.state.bucket == "fastify-eks-state-123456789012-eu-central-1"
    error_message = "the bucket's name must be derived from account and region, because the scripts compute it"
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(data.aws_iam_policy_document.state_bucket.json).Statement :
      statement.Effect == "Deny" && statement.Action == "s3:*" && statement.Principal == "*" &&
      try(statement.Condition.Bool["aws:SecureTransport"], "") == "false" && length(statement.Resource) == 2
    ])
    error_message = "the bucket and its objects must refuse requests without TLS"
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.state.block_public_acls,
      aws_s3_bucket_public_access_block.state.block_public_policy,
      aws_s3_bucket_public_access_block.state.ignore_public_acls,
      aws_s3_bucket_public_access_block.state.restrict_public_buckets,
    ])
    error_message = "all four public access blocks must be enabled"
  }

  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_server_side_encryption_configuration.state.rule :
      rule.apply_server_side_encryption_by_default[0].kms_master_key_id == aws_kms_key.state.arn
    ])
    error_message = "the state must be encrypted with its own key"
  }

  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled"
    error_message = "versioning of the bucket must be enabled"
  }
}

run "the_budget_warns_before_and_after" {
  command = plan

  assert {
    condition = { for notification in aws_budgets_budget.monthly.notification :
    notification.notification_type => notification.threshold } == { FORECASTED = 80, ACTUAL = 100 }
    error_message = "alerts must be sent at 80 % forecast and at 100 % actual cost"
  }
}

run "policies_stay_within_iams_size_limit" {
  command = plan

  assert {
    condition = alltrue([
      for document in [
        data.aws_iam_policy_document.apply_access,
        data.aws_iam_policy_document.apply_alarms,
        data.aws_iam_policy_document.apply_cluster,
        data.aws_iam_policy_document.apply_network,
        data.aws_iam_policy_document.apply_edge,
        data.aws_iam_policy_document.boundary,
        data.aws_iam_policy_document.read_stacks,
      ] : length(document.minified_json) <= 6144
    ])
    error_message = "a managed policy is limited to 6,144 characters"
  }
}

run "without_a_zone_ci_cannot_change_the_edge" {
  command = plan

  assert {
    condition     = length(aws_iam_policy.edge) == 0 && length(aws_iam_role_policy_attachment.edge) == 0
    error_message = "permissions for the edge must be opted into"
  }
}

run "apply_writes_records_in_one_zone_and_plan_writes_none" {
  command = plan

  variables {
    edge_zone_id = "Z0123456789ABCDEFGHIJ"
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.apply_edge.json).Statement : statement.Resource
      if contains(flatten([statement.Action]), "route53:ChangeResourceRecordSets")
    ] == ["arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ"]
    error_message = "apply must write records in this zone only"
  }

  assert {
    condition     = keys(aws_iam_role_policy_attachment.edge) == ["apply/apply", "apply/read", "plan/read"]
    error_message = "plan must only read"
  }
}
