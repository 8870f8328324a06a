terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The module itself requires 6.28 or later. The stack also works with the last 5.x, which the stand-in can use.
      version = ">= 5.95, < 7.0"
    }
  }

  # The caller sets the bucket and the key: see ../environments.
  backend "s3" {}
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }

  # The cluster stack gives this tag to the subnets of its cluster.
  ignore_tags {
    key_prefixes = ["kubernetes.io/cluster/"]
  }
}

# AWS creates the default security group with the VPC, without our tag. CI may tag only what it creates itself, so this
# provider sets no tags.
provider "aws" {
  alias  = "untagged"
  region = var.region
}
