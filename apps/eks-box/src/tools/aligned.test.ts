import t from 'tap'
import { differing, KUBERNETES_TOOLS, requirements, workspaceTools } from './align.ts'

const alignThem = 'align them: npm run align-tools --workspace=eks-box'

t.test('tools with Kubernetes’ libraries build each module at the version of Kubernetes', async (t) => {
  const kubernetes = requirements('kubernetes')
  t.ok(kubernetes.size > 100)
  for (const tool of KUBERNETES_TOOLS) {
    t.ok(requirements(tool).has('k8s.io/client-go'), tool)
    t.strictSame(differing(tool, kubernetes), [], `${tool}: ${alignThem}`)
  }
})

t.test('Kubernetes requires its own libraries by their version, so that Go can reuse them', async (t) => {
  const placeholders = [...requirements('kubernetes')].filter(([, version]) => version === 'v0.0.0')
  t.strictSame(placeholders, [])
})

t.test('the other tools build each module that they share at one version', async (t) => {
  const tools = workspaceTools()
  t.ok(tools.length > 1)
  for (const tool of tools) {
    for (const other of tools) t.strictSame(differing(tool, requirements(other)), [], `${tool}: ${alignThem}`)
  }
})
