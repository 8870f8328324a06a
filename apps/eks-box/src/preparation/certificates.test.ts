import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { kubeconfigPath, readBoxConfig } from 'shared/box'
import t from 'tap'
import { boxPaths } from '../state-directory.ts'
import { ensureCertificates } from './certificates.ts'

t.test('certificates are reused until their inputs change', async (t) => {
  const config = { ...readBoxConfig(process.env), stateDir: t.testdir() }
  const { pki, kubeconfigs } = boxPaths(config)
  const read = () =>
    Object.fromEntries(
      ['ca.crt', 'sa.key', 'etcd/ca.crt', 'apiserver.crt', 'etcd/server.crt'].map((name) => [
        name,
        readFileSync(join(pki, name), 'utf8'),
      ]),
    )
  await ensureCertificates(config)
  const first = read()
  const kubeconfig = readFileSync(join(kubeconfigs, 'kube-proxy.conf'), 'utf8')
  await ensureCertificates(config)
  t.strictSame(read(), first)

  writeFileSync(join(pki, 'complete'), 'made from something else')
  await ensureCertificates({ ...config, ports: { ...config.ports, api: 7443 } })
  const second = read()
  for (const name of ['ca.crt', 'sa.key', 'etcd/ca.crt']) t.equal(second[name], first[name], name)
  for (const name of ['apiserver.crt', 'etcd/server.crt']) t.not(second[name], first[name], name)
  t.not(readFileSync(join(kubeconfigs, 'kube-proxy.conf'), 'utf8'), kubeconfig)
  t.match(readFileSync(kubeconfigPath(config), 'utf8'), 'https://127.0.0.1:7443')
})
