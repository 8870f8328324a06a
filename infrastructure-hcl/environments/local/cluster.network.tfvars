# The network that the box's emulated AWS contains initially. NETWORK=stack replaces it by the stack network.
network            = "existing"
vpc_id             = "vpc-4283fefc63f0cd0e8"
public_subnet_ids  = ["subnet-793cf4220c917b853", "subnet-8b0e7153bf7c3706d", "subnet-2f8104fba08f6d368"]
private_subnet_ids = ["subnet-a4c123b1612dd272d", "subnet-7bc4612476c0efecf", "subnet-eb8450ae2a1c5ed55"]
