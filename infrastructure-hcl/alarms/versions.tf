terraform {
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
  region = var.region

  default_tags {
    tags = {
      "app.kubernetes.io/part-of" = var.cluster_name
      environment                 = var.environment
      managed-by                  = "terraform"
    }
  }
}
