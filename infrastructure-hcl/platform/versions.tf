terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.95, < 7.0"
    }
    helm = {
      source  = "hashicorp/helm"
      version = "~> 3.1"
    }
  }

  # Bucket and key come from the environment, see ../environments.
  backend "s3" {}
}

provider "aws" {
  region = local.cluster.region
}

# Good for 15 minutes, and in neither state nor plan.
ephemeral "aws_eks_cluster_auth" "this" {
  name = local.cluster.cluster_name
}

# The only provider that talks to the cluster. What is no third party's chart (namespaces, storage class, deploy
# role) is one of our own: planning it asks the cluster nothing, and no second provider has to sign in.
provider "helm" {
  kubernetes = {
    host                   = local.cluster.cluster_endpoint
    cluster_ca_certificate = base64decode(local.cluster.cluster_certificate_authority_data)
    token                  = ephemeral.aws_eks_cluster_auth.this.token
  }
}
