terraform {
  # Write-only arguments, with which no password is in the state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.95, < 7.0"
    }
  }

  # The caller sets the bucket and the key: see ../environments.
  backend "s3" {}
}

provider "aws" {
  region = local.cluster.region

  default_tags {
    tags = local.tags
  }

  # `make apply` records in it which token the cache has.
  ignore_tags {
    keys = ["fastify-eks/token-of-secret-version"]
  }
}
