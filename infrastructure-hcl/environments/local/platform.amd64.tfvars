# Read after the other files on an amd64 machine: the nodes of the box have the machine's architecture.
# Both types have 2 vCPUs and 2 GiB. As on AWS, the first is cheaper, and the second is the fallback.
node_types = {
  architecture   = "amd64"
  instance_types = ["t3a.small", "t3.small"]
}
