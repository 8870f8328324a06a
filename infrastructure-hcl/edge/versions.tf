terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # aws_cloudfront_vpc_origin came with 5.82. The other stacks need 5.95.
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

# CloudFront reads certificates and web ACLs from this region only, wherever the service runs.
provider "aws" {
  alias  = "cloudfront"
  region = "us-east-1"

  default_tags {
    tags = local.tags
  }
}
