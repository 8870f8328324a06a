# Bucket and key are given by whoever runs Terraform: they follow from account, region and stack.
region       = "eu-central-1"
use_lockfile = true
# Not `encrypt = true`: it asks S3 for its own key instead of the bucket's default, which is ours.
