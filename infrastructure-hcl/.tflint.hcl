# The rules that come with tflint; nothing is downloaded.
plugin "terraform" {
  enabled = true
  preset  = "all"
}
