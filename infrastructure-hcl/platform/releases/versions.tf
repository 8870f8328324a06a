# This module needs no provider. Terraform can therefore run it where the Helm provider is not available.
terraform {
  required_version = ">= 1.11"
}
