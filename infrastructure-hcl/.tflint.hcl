# Only the rules built into tflint, so nothing is downloaded.
plugin "terraform" {
  enabled = true
  preset  = "all"
}
