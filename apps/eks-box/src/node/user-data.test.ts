import t from 'tap'
import { parseUserData } from './user-data.ts'

const nodeConfig = (spec: string) => `apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n${spec}`

t.test('a NodeConfig sets labels, taints and the number of pods', async (t) => {
  const userData = nodeConfig(`
  kubelet:
    config:
      maxPods: 20
      registerWithTaints: [{ key: dedicated, value: gpu, effect: NoSchedule }]
    flags:
      - --node-labels=pool=a,karpenter.sh/capacity-type=spot
      - --v=2
`)
  t.strictSame(parseUserData(userData), {
    maxPods: 20,
    labels: { pool: 'a', 'karpenter.sh/capacity-type': 'spot' },
    taints: ['dedicated=gpu:NoSchedule'],
  })
})

t.test(
  'in a multi-part document, later NodeConfigs override earlier ones, and scripts are left out',
  async (t) => {
    const part = (type: string, content: string) => `--//\r\nContent-Type: ${type}\r\n\r\n${content}\r\n`
    const userData = [
      'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="//"\r\n\r\n',
      part(
        'application/node.eks.aws',
        nodeConfig('  kubelet: { config: { maxPods: 20 }, flags: [--max-pods=30] }'),
      ),
      part('text/x-shellscript', '#!/bin/sh\nkind: NodeConfig\n'),
      part(
        'application/node.eks.aws',
        nodeConfig('  kubelet: { flags: [--register-with-taints=a=b:NoExecute] }'),
      ),
      '--//--\r\n',
    ].join('')
    t.strictSame(parseUserData(userData), { maxPods: 30, labels: {}, taints: ['a=b:NoExecute'] })
  },
)

t.test("Karpenter's NodeConfig has quoted labels, and a taint without a value", async (t) => {
  const userData = nodeConfig(`
  kubelet:
    config:
      registerWithTaints: [{ effect: NoExecute, key: karpenter.sh/unregistered }]
    flags:
      - --node-labels="karpenter.sh/nodepool=a,karpenter.sh/capacity-type=on-demand"
`)
  t.strictSame(parseUserData(userData), {
    labels: { 'karpenter.sh/nodepool': 'a', 'karpenter.sh/capacity-type': 'on-demand' },
    taints: ['karpenter.sh/unregistered=:NoExecute'],
  })
})

t.test('user data without a NodeConfig changes nothing', async (t) => {
  for (const userData of ['', '#!/bin/bash\necho kind: NodeConfig\n']) {
    t.strictSame(parseUserData(userData), { labels: {}, taints: [] })
  }
})

t.test('a part that should be a NodeConfig and is not is an error', async (t) => {
  const userData =
    'Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: application/node.eks.aws\n\nkind: Pod\n--x--\n'
  t.throws(() => parseUserData(userData), { message: /no NodeConfig/ })
})
