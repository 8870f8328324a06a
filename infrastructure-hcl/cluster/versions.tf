terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The modules ask for 6.28 or newer themselves; this stack holds on the last 5.x as well.
      version = ">= 5.95, < 7.0"
    }
  }

  # Bucket and key come from the environment, see ../environments.
  backend "s3" {}
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}
