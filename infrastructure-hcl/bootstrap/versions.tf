terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.95, < 7.0"
    }
  }

  # The bucket that this stack creates. docs/ci-cd.md describes the first apply.
  backend "s3" {}
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      "app.kubernetes.io/part-of" = local.name
      environment                 = var.environment
      managed-by                  = "terraform"
    }
  }
}
