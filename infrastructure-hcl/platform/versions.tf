terraform {
  required_version = ">= 1.11"

  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = "~> 3.1"
    }
  }

  # The caller sets the bucket and the key: see ../environments.
  backend "s3" {}
}

# The only provider that connects to the cluster. Objects that are not part of a third-party chart (namespaces,
# storage class, deploy role) are in our own chart, so that no second provider needs to sign in to the cluster.
provider "helm" {
  kubernetes = {
    host                   = local.cluster.cluster_endpoint
    cluster_ca_certificate = base64decode(local.cluster.cluster_certificate_authority_data)

    # Tokens of EKS are valid for 15 minutes, but an apply or a destroy can take longer. The provider therefore
    # requests a new one when the last has expired.
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
