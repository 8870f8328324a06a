import t from 'tap'
import { differing, KUBERNETES_TOOLS, requirements, versionsFor, workspaceTools } from './align.ts'

const alignThem = 'align them: npm run align-tools --workspace=eks-box'

t.test('tools with Kubernetes’ libraries build each module at the version of Kubernetes', async (t) => {
  t.ok(requirements('kubernetes').size > 100)
  for (const tool of KUBERNETES_TOOLS) {
    t.ok(requirements(tool).has('k8s.io/client-go'), tool)
    t.strictSame(differing(tool, versionsFor(tool)), [], `${tool}: ${alignThem}`)
  }
})

t.test('the load balancer controller builds the AWS SDK at the version of Karpenter', async (t) => {
  const ec2 = 'github.com/aws/aws-sdk-go-v2/service/ec2'
  const tool = 'load-balancer-controller'
  t.ok(requirements(tool).has(ec2))
  t.strictSame(differing(tool, versionsFor(tool)), [], alignThem)
})

t.test('the simulation’s Karpenter has the version of the other one', async (t) => {
  const core = 'sigs.k8s.io/karpenter'
  t.ok(requirements('karpenter').has(core))
  t.equal(requirements('karpenter-kwok').get(core), requirements('karpenter').get(core))
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
