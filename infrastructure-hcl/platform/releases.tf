# One resource per stage: see releases/main.tf. A test keeps their arguments equal to the description.

# Helm never upgrades definitions in a chart's crds directory. This data source reads them from the chart, for a separate
# release.
data "helm_template" "definitions" {
  for_each = {
    for name, release in module.releases.releases : name => module.releases.releases[release.definitions_of]
    if release.definitions_of != null
  }

  name       = each.value.name
  namespace  = each.value.namespace
  repository = each.value.repository
  chart      = each.value.chart
  version    = each.value.version
  values     = each.value.values

  include_crds = true
  # include_crds applies regardless of show_only. Everything rendered is stored in the state, so render only one
  # template without secrets.
  show_only = ["templates/serviceaccount.yaml"]
}

resource "helm_release" "foundation" {
  for_each = { for name, release in module.releases.releases : name => release if release.stage == "foundation" }

  name        = each.value.name
  namespace   = each.value.namespace
  repository  = each.value.repository
  chart       = each.value.chart
  version     = each.value.version
  description = each.value.description
  values = each.value.definitions_of == null ? each.value.values : [
    yamlencode({ definitions = data.helm_template.definitions[each.key].crds })
  ]

  skip_crds       = each.value.skip_crds
  take_ownership  = each.value.take_ownership
  atomic          = each.value.atomic
  wait            = each.value.wait
  cleanup_on_fail = each.value.cleanup_on_fail
  timeout         = each.value.timeout
  max_history     = each.value.max_history
}

resource "helm_release" "controllers" {
  for_each = { for name, release in module.releases.releases : name => release if release.stage == "controllers" }

  name        = each.value.name
  namespace   = each.value.namespace
  repository  = each.value.repository
  chart       = each.value.chart
  version     = each.value.version
  description = each.value.description
  values      = each.value.values

  skip_crds       = each.value.skip_crds
  take_ownership  = each.value.take_ownership
  atomic          = each.value.atomic
  wait            = each.value.wait
  cleanup_on_fail = each.value.cleanup_on_fail
  timeout         = each.value.timeout
  max_history     = each.value.max_history

  depends_on = [helm_release.foundation]
}

resource "helm_release" "nodes" {
  for_each = { for name, release in module.releases.releases : name => release if release.stage == "nodes" }

  name        = each.value.name
  namespace   = each.value.namespace
  repository  = each.value.repository
  chart       = each.value.chart
  version     = each.value.version
  description = each.value.description
  values      = each.value.values

  skip_crds       = each.value.skip_crds
  take_ownership  = each.value.take_ownership
  atomic          = each.value.atomic
  wait            = each.value.wait
  cleanup_on_fail = each.value.cleanup_on_fail
  timeout         = each.value.timeout
  max_history     = each.value.max_history

  depends_on = [helm_release.controllers]
}

resource "helm_release" "workloads" {
  for_each = { for name, release in module.releases.releases : name => release if release.stage == "workloads" }

  name        = each.value.name
  namespace   = each.value.namespace
  repository  = each.value.repository
  chart       = each.value.chart
  version     = each.value.version
  description = each.value.description
  values      = each.value.values

  skip_crds       = each.value.skip_crds
  take_ownership  = each.value.take_ownership
  atomic          = each.value.atomic
  wait            = each.value.wait
  cleanup_on_fail = each.value.cleanup_on_fail
  timeout         = each.value.timeout
  max_history     = each.value.max_history

  depends_on = [helm_release.nodes]
}
