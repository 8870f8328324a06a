# The caller sets the bucket and the key, because they depend on the account, the region and the stack.
region       = "eu-central-1"
use_lockfile = true
# Do not set `encrypt = true`: it selects S3's own key instead of the bucket's default, our KMS key.
