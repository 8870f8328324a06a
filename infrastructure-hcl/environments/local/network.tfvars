# The company's network, as the box's emulated AWS has it from the start.
vpc_id             = "vpc-4af270f6164cba4ba"
public_subnet_ids  = ["subnet-793cf4220c917b853", "subnet-8b0e7153bf7c3706d", "subnet-2f8104fba08f6d368"]
private_subnet_ids = ["subnet-a4c123b1612dd272d", "subnet-7bc4612476c0efecf", "subnet-eb8450ae2a1c5ed55"]
