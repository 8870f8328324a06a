environment = "local"
region      = "eu-central-1"

# As the network that the box contains initially: its DNS server and its load balancers have addresses in this block.
cidr  = "10.0.0.0/16"
zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
nat   = "instance"
