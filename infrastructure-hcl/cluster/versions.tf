terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The modules themselves require 6.28 or later. The stack also works with the last 5.x, which the stand-ins can
      # use.
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
}
