# The zone that the box's emulated AWS contains initially.
domain = { zone = "company.example", host = "tasks.company.example" }
