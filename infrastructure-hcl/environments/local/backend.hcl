# The state of the bootstrap stack is in the bucket of the box's emulated AWS; those of the other stacks are files.
region       = "eu-central-1"
use_lockfile = true
