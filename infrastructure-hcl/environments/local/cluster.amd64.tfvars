# Read after the other files on an amd64 machine: the nodes of the box have the machine's architecture.
# t3.small is the amd64 type with the size of t4g.small: 2 vCPUs and 2 GiB.
system_nodes = {
  instance_type = "t3.small"
  ami_type      = "AL2023_x86_64_STANDARD"
}
