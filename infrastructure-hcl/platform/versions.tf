terraform {
  required_version = ">= 1.11"

  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = "~> 3.1"
    }
  }

  # Bucket and key come from the environment, see ../environments.
  backend "s3" {}
}

# The only provider that talks to the cluster. What is no third party's chart (namespaces, storage class, deploy
# role) is one of our own: planning it asks the cluster nothing, and no second provider has to sign in.
provider "helm" {
  kubernetes = {
    host                   = local.cluster.cluster_endpoint
    cluster_ca_certificate = base64decode(local.cluster.cluster_certificate_authority_data)

    # EKS's tokens are good for 15 minutes, less than an apply or a destroy may take: the provider asks for a new one
    # when the last has expired.
    exec = {
      api_version = "client.authentication.k8s.io/v1beta1"
      command     = "aws"
      args = [
        "eks", "get-token", "--output", "json",
        "--cluster-name", local.cluster.cluster_name,
        "--region", local.cluster.region,
      ]
    }
  }
}
