environment = "local"
region      = "eu-central-1"
