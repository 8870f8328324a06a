# What the stack promises about who gets in and how far. No request leaves: every run is a plan, and what only
# AWS knows is given.

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
    error_message = "every role must ask for the repository's id and for the audience"
  }

  assert {
    condition     = alltrue([for document in data.aws_iam_policy_document.trust : !strcontains(document.json, "StringLike")])
    error_message = "no trust policy may match by pattern"
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
    error_message = "plan must be for pull requests and for the branch, in both forms that GitHub writes the subject in"
  }

  assert {
    condition = alltrue([for role in ["apply", "release", "deploy"] :
      !strcontains(data.aws_iam_policy_document.trust[role].json, "pull_request")
    ])
    error_message = "no other role may be for pull requests"
  }
}

run "changes_come_from_the_branch_through_an_environment_of_their_own" {
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
    error_message = "apply, release and deploy must each ask for an environment of their own and for the branch"
  }
}

run "plan_writes_nothing" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for policy in [data.aws_iam_policy_document.read_stacks.json, aws_iam_role_policy.state_key["plan"].policy] : [
        for statement in jsondecode(policy).Statement : [
          for action in flatten([statement.Action]) :
          can(regex("^[a-z0-9-]+:(Describe|Get|List|Decrypt)[A-Za-z]*\\*?$", action))
        ]
      ]
    ]))
    error_message = "plan may only read: not even the objects that lock its state are its to write or delete"
  }

  assert {
    condition     = !strcontains(data.aws_iam_policy_document.read_stacks.json, "bootstrap.tfstate")
    error_message = "this stack's own state is not CI's to read"
  }
}

run "apply_takes_no_key_over" {
  command = plan

  # A right to tag keys, or one that depends on a key's tag or alias, would be a way to the policy of any key.
  assert {
    condition = alltrue(flatten([
      for policy in [
        data.aws_iam_policy_document.apply_access.json,
        data.aws_iam_policy_document.apply_cluster.json,
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
    error_message = "apply may read what keys are, use the state's key through S3 and lend the Secrets' key to EKS, and no more"
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
    error_message = "what gives a role rights must ask for the boundary"
  }

  assert {
    condition = alltrue([
      for document in [data.aws_iam_policy_document.apply_access, data.aws_iam_policy_document.apply_cluster] :
      !strcontains(document.json, "DeleteRolePermissionsBoundary") && !strcontains(document.json, "iam:*")
    ])
    error_message = "apply must not be able to take the boundary off"
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
    error_message = "apply must reach no role, policy or identity provider but the cluster's: not its own, not GitHub's"
  }
}

run "the_boundary_gives_no_way_out" {
  command = plan

  assert {
    condition = !can(regex(
      "\"(iam:(\\*|Create(Role|Policy|User|AccessKey)|Attach|Put|Update)|s3:|sts:|secretsmanager:|kms:(\\*|PutKeyPolicy|CreateGrant))",
      data.aws_iam_policy_document.boundary.json,
    ))
    error_message = "the boundary must not let a role write IAM, read buckets or secrets, become another role or open keys"
  }
}

run "release_pushes_to_one_repository" {
  command = plan

  assert {
    condition = toset([
      for statement in jsondecode(data.aws_iam_policy_document.release.json).Statement :
      statement.Resource if statement.Action != "ecr:GetAuthorizationToken"
    ]) == toset(["arn:aws:ecr:eu-central-1:123456789012:repository/fastify-app"])
    error_message = "release must reach the service's repository only"
  }

  assert {
    condition     = !strcontains(data.aws_iam_policy_document.release.json, "Delete")
    error_message = "release must not delete images"
  }
}

run "deploy_finds_one_cluster_and_one_repositorys_images" {
  command = plan

  assert {
    condition = {
      for statement in jsondecode(data.aws_iam_policy_document.deploy.json).Statement : statement.Resource => toset(flatten([statement.Action]))
      } == {
      "arn:aws:eks:eu-central-1:123456789012:cluster/fastify-eks-cluster" = toset(["eks:DescribeCluster"])
      "arn:aws:ecr:eu-central-1:123456789012:repository/fastify-app"      = toset(["ecr:DescribeImages", "ecr:DescribeRepositories"])
    }
    error_message = "deploy must be able to find the cluster and the image, and no more"
  }
}

run "state_is_private_encrypted_and_kept" {
  command = plan

  assert {
    condition     = aws_s3_bucket.state.bucket == "fastify-eks-state-123456789012-eu-central-1"
    error_message = "the bucket's name must follow from account and region: Terraform's runner computes it"
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
    error_message = "all four switches against public access must be on"
  }

  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_server_side_encryption_configuration.state.rule :
      rule.apply_server_side_encryption_by_default[0].kms_master_key_id == aws_kms_key.state.arn
    ])
    error_message = "state must be encrypted with its own key"
  }

  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled"
    error_message = "the bucket must keep old versions"
  }
}

run "the_budget_warns_before_and_after" {
  command = plan

  assert {
    condition = { for notification in aws_budgets_budget.monthly.notification :
    notification.notification_type => notification.threshold } == { FORECASTED = 80, ACTUAL = 100 }
    error_message = "alerts must come at 80 % forecast and at 100 % spent"
  }
}

run "policies_fit_into_what_iam_allows" {
  command = plan

  assert {
    condition = alltrue([
      for document in [
        data.aws_iam_policy_document.apply_access,
        data.aws_iam_policy_document.apply_cluster,
        data.aws_iam_policy_document.boundary,
        data.aws_iam_policy_document.read_stacks,
      ] : length(document.minified_json) <= 6144
    ])
    error_message = "a managed policy ends at 6,144 characters"
  }
}
