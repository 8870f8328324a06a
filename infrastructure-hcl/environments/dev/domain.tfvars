# The domain of this environment. Replace it with your own: docs/domain.md explains what to do at the registrar.
domain = { zone = "example.com", host = "tasks-dev.example.com" }
