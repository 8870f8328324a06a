import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { KubeConfig } from '@kubernetes/client-node'
import { readEnvironment } from 'shared/environment'
import t, { type Test } from 'tap'
import { clientsFor } from './aws.ts'
import {
  checkDatabaseDestroyable,
  checkDestroyable,
  connectToCluster,
  deleteExternalSecrets,
  deleteObjectsBackedByAws,
  deleteServiceIngress,
  emptyCluster,
  findCluster,
  findNetworkUser,
  resolveTarget,
  type Target,
} from './destroy.ts'
import { parseState, type StateResource } from './state.ts'

const declared = { name: 'shop', region: 'eu-central-1' }
const endpoint = 'https://ABCD.gr7.eu-central-1.eks.amazonaws.com'
const target: Target = { environment: 'dev', ...declared, inState: true, endpoint }

const resource = (type: string, values: Record<string, unknown>): StateResource => ({
  address: `module.eks.${type}.this`,
  type,
  values,
})
const cluster = resource('aws_eks_cluster', {
  name: 'shop',
  endpoint,
  arn: 'arn:aws:eks:eu-central-1:123456789012:cluster/shop',
})

type Answer = [status: number, body?: object | string]

/** Starts a server on loopback. `answer` receives each request as `METHOD path`, and its body. */
async function serve(t: Test, answer: (request: string, body: string) => Answer): Promise<string> {
  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    const body = (await request.toArray()).join('')
    const [status, content = {}] = answer(`${request.method} ${request.url}`, body)
    const text = typeof content === 'string' ? content : JSON.stringify(content)
    const type = typeof content === 'string' ? 'text/xml' : 'application/json'
    response.writeHead(status, { 'content-type': type }).end(text)
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function aws(t: Test, endpoint: string) {
  const credentials = { accessKeyId: 'a', secretAccessKey: 's' }
  const clients = clientsFor({ endpoint, region: 'eu-central-1', credentials })
  t.teardown(() => {
    for (const client of Object.values(clients)) client.destroy()
  })
  return clients
}

const failure = (name: string): Answer => [404, { __type: name, message: name }]

/** EC2 and Elastic Load Balancing with one volume, or with nothing. */
function withVolume(volume: string | undefined) {
  return (_request: string, body: string): Answer => {
    const action = new URLSearchParams(body).get('Action') ?? ''
    const volumes =
      volume === undefined || action !== 'DescribeVolumes'
        ? ''
        : `<volumeSet><item><volumeId>${volume}</volumeId></item></volumeSet>`
    return [200, `<${action}Response>${volumes}<${action}Result/></${action}Response>`]
  }
}

function kubeConfigOf(server: string): KubeConfig {
  const kubeConfig = new KubeConfig()
  kubeConfig.loadFromClusterAndUser({ name: 'c', skipTLSVerify: true, server }, { name: 'u' })
  return kubeConfig
}

t.test('the cluster comes from the outputs', async (t) => {
  const outputs = { cluster_name: 'shop', region: 'eu-central-1', cluster_endpoint: endpoint }
  t.strictSame(resolveTarget('dev', { outputs, resources: [cluster] }, declared), target)
})

t.test('after an interrupted destroy without outputs, the cluster comes from the resources', async (t) => {
  t.strictSame(resolveTarget('dev', { outputs: {}, resources: [cluster] }, declared), target)
  const repository = resource('aws_ecr_repository', {
    arn: 'arn:aws:ecr:eu-central-1:123456789012:repository/shop',
  })
  t.match(resolveTarget('dev', { outputs: {}, resources: [repository] }, declared), {
    ...declared,
    inState: false,
  })
  t.match(resolveTarget('dev', { outputs: {}, resources: [] }, declared), { ...declared, inState: false })
})

t.test('variables that name another cluster or region are refused', async (t) => {
  const role = resource('aws_iam_role', { arn: 'arn:aws:iam::123456789012:role/shop' })
  for (const state of [
    { outputs: { region: 'eu-central-1' }, resources: [] },
    { outputs: {}, resources: [role, cluster] },
  ]) {
    t.throws(() => resolveTarget('dev', state, { ...declared, region: 'us-east-1' }), {
      message: 'dev was applied with region "eu-central-1", but its variables now say "us-east-1"',
      nextStep: /put region = "eu-central-1" back in .*dev\/cluster\.tfvars/,
    })
  }
  t.throws(
    () => resolveTarget('dev', { outputs: {}, resources: [cluster] }, { ...declared, name: 'other' }),
    {
      message: /cluster_name "shop", but its variables now say "other"/,
    },
  )
})

t.test('a state includes the resources of all modules, but no data sources', async (t) => {
  const inModule = { ...cluster, mode: 'managed' }
  const data = { address: 'data.aws_vpc.this', mode: 'data', type: 'aws_vpc', values: {} }
  const text = JSON.stringify({
    values: {
      outputs: { region: { value: 'eu-central-1' } },
      root_module: { resources: [data], child_modules: [{ resources: [inModule] }] },
    },
  })
  t.match(parseState(text), { outputs: { region: 'eu-central-1' }, resources: [inModule] })
  t.equal(parseState(text).resources.length, 1)
  t.strictSame(parseState('{"format_version":"1.0"}'), { outputs: {}, resources: [] })
})

t.test('a network is in use while a resource names its VPC or one of its subnets', async (t) => {
  const state = (...resources: StateResource[]) => ({ outputs: {}, resources })
  const network = state(resource('aws_vpc', { id: 'vpc-1' }), resource('aws_subnet', { id: 'subnet-1' }))
  const group = resource('aws_security_group', { id: 'sg-1', vpc_id: 'vpc-1' })
  const inSubnet = resource('aws_eks_cluster', { vpc_config: [{ subnet_ids: ['subnet-2', 'subnet-1'] }] })
  t.equal(findNetworkUser(network, state(cluster, group)), 'module.eks.aws_security_group.this')
  t.equal(findNetworkUser(network, state(inSubnet)), 'module.eks.aws_eks_cluster.this')
  const elsewhere = resource('aws_security_group', { vpc_id: 'vpc-10' })
  t.equal(findNetworkUser(network, state(cluster, elsewhere)), undefined)
  t.equal(findNetworkUser(state(), state(group)), undefined)
})

t.test('a cluster that EKS no longer has is not an error', async (t) => {
  const clients = aws(t, await serve(t, () => failure('ResourceNotFoundException')))
  t.equal(await findCluster(target, clients), undefined)
})

t.test('any other EKS error is not taken for a deleted cluster', async (t) => {
  const clients = aws(t, await serve(t, () => [403, { __type: 'AccessDeniedException', message: 'no' }]))
  await t.rejects(findCluster(target, clients), { name: 'AccessDeniedException' })
})

t.test('a cluster of the same name with another endpoint is refused', async (t) => {
  const found = { name: 'shop', status: 'ACTIVE', endpoint: 'https://ffff.example' }
  const clients = aws(t, await serve(t, () => [200, { cluster: found }]))
  await t.rejects(findCluster(target, clients), {
    message: /cluster shop in eu-central-1 is not the one that dev created: its API is https:\/\/ffff/,
    nextStep: /terraform state rm/,
  })
  const same = { ...found, endpoint: endpoint.toLowerCase() }
  t.match(await findCluster(target, aws(t, await serve(t, () => [200, { cluster: same }]))), same)
})

t.test('it waits for a deletion in progress', async (t) => {
  let asked = 0
  const clients = aws(
    t,
    await serve(t, () =>
      asked++ === 0
        ? [200, { cluster: { name: 'shop', status: 'DELETING', endpoint } }]
        : failure('ResourceNotFoundException'),
    ),
  )
  t.equal(await findCluster(target, clients), undefined)
  t.equal(asked, 3)
})

const repository = (force_delete: boolean) =>
  resource('aws_ecr_repository', { name: 'fastify-app', force_delete })

t.test('everything that would make the destroy fail later is reported first, all at once', async (t) => {
  const clients = aws(t, await serve(t, () => [200, { imageDetails: [{ imageDigest: 'sha256:1' }] }]))
  const state = { outputs: {}, resources: [cluster, repository(false)] }
  await t.rejects(checkDestroyable(target, state, { deletionProtection: true }, clients), {
    message:
      'dev cannot be destroyed: deletion protection of cluster shop is on; repository fastify-app holds images and images.force_delete is false. Nothing was changed',
    nextStep:
      /set deletion_protection = false and images\.force_delete = true in .*dev\/cluster\.tfvars and run `make apply ENV=dev STACK=cluster`, or run `aws eks update-cluster-config .*--no-deletion-protection && aws ecr delete-repository .*--force`; then destroy again/,
  })
})

t.test(
  'an empty repository, a deleted one, and one with force_delete do not prevent a destroy',
  async (t) => {
    const kept = { outputs: {}, resources: [repository(false)] }
    const empty = aws(t, await serve(t, () => [200, { imageDetails: [] }]))
    await checkDestroyable(target, kept, undefined, empty)
    const gone = aws(t, await serve(t, () => failure('RepositoryNotFoundException')))
    await checkDestroyable(target, kept, undefined, gone)
    const unasked = aws(
      t,
      await serve(t, () => {
        t.fail('ECR is not needed')
        return [500]
      }),
    )
    await checkDestroyable(target, { outputs: {}, resources: [repository(true)] }, undefined, unasked)
  },
)

t.test("the client uses EKS's description of the cluster, whatever context is current", async (t) => {
  const found = { endpoint, certificateAuthority: { data: 'Y2E=' } }
  const access = connectToCluster(target, found, readEnvironment({ ENV: 'dev' }))
  t.match(access.getCurrentCluster(), { server: endpoint, caData: 'Y2E=', skipTLSVerify: false })
  t.match(access.getCurrentUser()?.exec, {
    command: 'aws',
    args: ['eks', 'get-token', '--cluster-name', 'shop', '--region', 'eu-central-1'],
  })
})

t.test('KUBE_CONTEXT may name this cluster, but no other', async (t) => {
  const kubeconfig = (server: string) => ({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server } }],
    users: [{ name: 'u', user: {} }],
    contexts: [{ name: 'somewhere', context: { cluster: 'c', user: 'u' } }],
  })
  const directory = t.testdir({
    same: JSON.stringify(kubeconfig(`${endpoint.toLowerCase()}:443/`)),
    other: JSON.stringify(kubeconfig('https://other.example')),
  })
  const env = { ENV: 'dev', KUBE_CONTEXT: 'somewhere' }
  const open = (file: string) => {
    t.intercept(process, 'env', { value: { ...process.env, KUBECONFIG: join(directory, file) } })
    return connectToCluster(target, { endpoint }, readEnvironment(env))
  }
  t.equal(open('same').getCurrentContext(), 'somewhere')
  t.throws(() => open('other'), {
    message: `KUBE_CONTEXT is "somewhere", which leads to https://other.example, not to dev's cluster shop (${endpoint}). Nothing was changed`,
    nextStep: 'unset KUBE_CONTEXT: destroy finds the cluster without it',
  })
})

/** A cluster with these objects, by the path of their list. It records what is deleted. */
async function kubernetes(t: Test, lists: Record<string, object[]>, objects: Record<string, object> = {}) {
  const deleted: string[] = []
  const resources = (names: Record<string, string>) => ({
    resources: Object.entries(names).map(([name, kind]) => ({ name, kind, namespaced: true })),
  })
  const discovery: Record<string, object> = {
    '/api/v1': resources({ pods: 'Pod' }),
    '/apis/apps/v1': resources({ statefulsets: 'StatefulSet' }),
    '/apis/monitoring.coreos.com/v1': resources({ prometheuses: 'Prometheus' }),
  }
  const server = await serve(t, (request) => {
    const [method, url = ''] = request.split(' ')
    const path = url.split('?')[0] ?? ''
    if (method === 'DELETE') {
      deleted.push(path)
      return [200, {}]
    }
    const items = lists[path]
    const found = items === undefined ? (discovery[path] ?? objects[path]) : { items }
    return found === undefined ? [404, { message: 'not found' }] : [200, found]
  })
  return { cluster: kubeConfigOf(server), deleted }
}

const volume = (reclaimPolicy: string) => ({
  metadata: { name: 'pvc-1' },
  spec: {
    persistentVolumeReclaimPolicy: reclaimPolicy,
    csi: { driver: 'ebs.csi.aws.com', volumeHandle: 'vol-1' },
    claimRef: { namespace: 'monitoring', name: 'data' },
  },
})
const nothing = {
  '/apis/networking.k8s.io/v1/ingresses': [],
  '/api/v1/services': [],
  '/api/v1/persistentvolumes': [],
  '/api/v1/pods': [],
}

t.test('all objects for which controllers hold resources in AWS are deleted', async (t) => {
  const named = (name: string, more = {}) => ({ metadata: { namespace: 'shop', name }, ...more })
  const { cluster, deleted } = await kubernetes(t, {
    ...nothing,
    '/apis/networking.k8s.io/v1/ingresses': [named('web')],
    '/api/v1/services': [
      named('inside', { spec: { type: 'ClusterIP' } }),
      named('outside', { spec: { type: 'LoadBalancer' } }),
    ],
    '/apis/karpenter.sh/v1/nodepools': [{ metadata: { name: 'default' } }],
    '/apis/karpenter.k8s.aws/v1/ec2nodeclasses': [{ metadata: { name: 'default' } }],
  })
  t.strictSame((await deleteObjectsBackedByAws(cluster)).deleted, [
    'Ingress shop/web',
    'Service shop/outside',
    'NodePool default',
    'EC2NodeClass default',
  ])
  t.strictSame(deleted, [
    '/apis/networking.k8s.io/v1/namespaces/shop/ingresses/web',
    '/api/v1/namespaces/shop/services/outside',
    '/apis/karpenter.sh/v1/nodepools/default',
    '/apis/karpenter.k8s.aws/v1/ec2nodeclasses/default',
  ])
})

/** A cluster whose Ingress still exists for a number of reads, while the controller deletes its load balancer. */
async function clusterWithIngress(t: Test, reads: number) {
  let remaining = reads
  const server = await serve(t, (request) => {
    if (request.startsWith('DELETE')) return reads === 0 ? [404, { message: 'not found' }] : [200, {}]
    return remaining-- > 0 ? [200, {}] : [404, { message: 'not found' }]
  })
  return kubeConfigOf(server)
}

t.test("before the certificate, the service's Ingress is deleted with its load balancer", async (t) => {
  const output = t.capture(console, 'log')
  await deleteServiceIngress(await clusterWithIngress(t, 0), { interval: 1, timeout: 10_000 })
  t.strictSame(output(), [], 'there is none')
  await deleteServiceIngress(await clusterWithIngress(t, 3), { interval: 1, timeout: 10_000 })
  t.match(output.args(), [[/^deleted Ingress fastify-app\/fastify-app/]])
  await t.rejects(
    deleteServiceIngress(await clusterWithIngress(t, Number.POSITIVE_INFINITY), { interval: 1, timeout: 0 }),
    {
      message:
        'the controller aws-load-balancer-controller has not cleaned up behind the deleted Ingress after 0 min',
    },
  )
})

/** A cluster with an ExternalSecret that disappears after it was deleted and listed a number of times. */
async function clusterWithExternalSecret(t: Test, lists: number) {
  let remaining = lists
  const requests: string[] = []
  const server = await serve(t, (request) => {
    requests.push(request)
    if (request.startsWith('DELETE')) return [200, {}]
    const metadata = { namespace: 'shop', name: 'web', uid: 'u' }
    return [200, { items: remaining-- > 0 ? [{ metadata }] : [] }]
  })
  return { cluster: kubeConfigOf(server), requests }
}

t.test('the operator finishes deleting the ExternalSecrets before it is uninstalled', async (t) => {
  t.capture(console, 'log')
  const { cluster, requests } = await clusterWithExternalSecret(t, 3)
  await deleteExternalSecrets(cluster, { interval: 1, timeout: 10_000 })
  const path = '/apis/external-secrets.io/v1'
  const list = `GET ${path}/externalsecrets`
  t.strictSame(requests, [list, `DELETE ${path}/namespaces/shop/externalsecrets/web`, ...[list, list, list]])
  const stuck = await clusterWithExternalSecret(t, Number.POSITIVE_INFINITY)
  await t.rejects(deleteExternalSecrets(stuck.cluster, { interval: 1, timeout: 0 }), {
    message: /^the controller external-secrets has not cleaned up/,
    nextStep: /^look for the reason in the log of the Deployment external-secrets/,
  })
})

t.test('a cluster without the operator has no ExternalSecrets', async (t) => {
  const server = await serve(t, () => [404, { message: 'not found' }])
  await deleteExternalSecrets(kubeConfigOf(server), { interval: 1, timeout: 0 })
})

t.test('a claim is deleted with the workload that uses it, up to its root owner', async (t) => {
  const ownedBy = (apiVersion: string, kind: string, name: string) => ({
    ownerReferences: [{ apiVersion, kind, name, controller: true, uid: name }],
  })
  const { cluster, deleted } = await kubernetes(
    t,
    {
      ...nothing,
      '/api/v1/persistentvolumes': [
        volume('Delete'),
        { metadata: { name: 'nfs' }, spec: { csi: { driver: 'nfs.example' } } },
      ],
      '/api/v1/pods': [
        {
          metadata: { namespace: 'monitoring', name: 'p-0', ...ownedBy('apps/v1', 'StatefulSet', 'p') },
          spec: { volumes: [{ persistentVolumeClaim: { claimName: 'data' } }] },
        },
        {
          metadata: { namespace: 'shop', name: 'same-claim-elsewhere' },
          spec: { volumes: [{ persistentVolumeClaim: { claimName: 'data' } }] },
        },
      ],
    },
    {
      '/apis/apps/v1/namespaces/monitoring/statefulsets/p': {
        apiVersion: 'apps/v1',
        kind: 'StatefulSet',
        metadata: {
          namespace: 'monitoring',
          name: 'p',
          ...ownedBy('monitoring.coreos.com/v1', 'Prometheus', 'main'),
        },
      },
      '/apis/monitoring.coreos.com/v1/namespaces/monitoring/prometheuses/main': {
        apiVersion: 'monitoring.coreos.com/v1',
        kind: 'Prometheus',
        metadata: { namespace: 'monitoring', name: 'main' },
      },
    },
  )
  t.strictSame(await deleteObjectsBackedByAws(cluster), {
    deleted: ['PersistentVolumeClaim monitoring/data', 'Prometheus monitoring/main'],
    volumeIds: ['vol-1'],
  })
  t.strictSame(deleted, [
    '/api/v1/namespaces/monitoring/persistentvolumeclaims/data',
    '/apis/monitoring.coreos.com/v1/namespaces/monitoring/prometheuses/main',
  ])
})

t.test(
  'a volume with the reclaim policy Retain prevents the destroy before anything is deleted',
  async (t) => {
    const { cluster, deleted } = await kubernetes(t, {
      ...nothing,
      '/apis/networking.k8s.io/v1/ingresses': [{ metadata: { namespace: 'shop', name: 'web' } }],
      '/api/v1/persistentvolumes': [volume('Retain')],
    })
    await t.rejects(deleteObjectsBackedByAws(cluster), {
      message:
        'the reclaim policy Retain protects data: PersistentVolume pvc-1 on EBS volume vol-1. Nothing was changed',
      nextStep: /kubectl patch persistentvolume pvc-1 .*"Delete"/,
    })
    t.strictSame(deleted, [])
  },
)

t.test('a cluster that refuses access is skipped only if its controllers left nothing in AWS', async (t) => {
  const refusing = kubeConfigOf(await serve(t, () => [401, { message: 'Unauthorized' }]))
  await emptyCluster(target, refusing, aws(t, await serve(t, withVolume(undefined))))
  const unreachable = kubeConfigOf('http://127.0.0.1:1')
  await emptyCluster(target, unreachable, aws(t, await serve(t, withVolume(undefined))))
  await t.rejects(emptyCluster(target, refusing, aws(t, await serve(t, withVolume('vol-9')))), {
    message:
      'cluster shop cannot be cleaned up from inside: it does not accept your credentials, and its controllers left these resources in AWS:\n  volume vol-9, data of a claim',
    nextStep: /access\.admins[\s\S]*\n {2}aws ec2 delete-volume --volume-id vol-9 --region eu-central-1/,
  })
})

t.test('any other error of the cluster is passed on', async (t) => {
  const broken = kubeConfigOf(await serve(t, () => [500, { message: 'etcd is down' }]))
  await t.rejects(emptyCluster(target, broken, aws(t, await serve(t, withVolume(undefined)))), { code: 500 })
})

const describedDatabase = (isProtected: boolean) =>
  `<DescribeDBInstancesResponse><DescribeDBInstancesResult><DBInstances><DBInstance><DBInstanceIdentifier>shop</DBInstanceIdentifier><DeletionProtection>${isProtected}</DeletionProtection></DBInstance></DBInstances></DescribeDBInstancesResult></DescribeDBInstancesResponse>`

t.test('a database with deletion protection prevents a destroy, whatever the state says', async (t) => {
  const database = resource('aws_db_instance', { identifier: 'shop', deletion_protection: false })
  const { rds } = aws(t, await serve(t, () => [200, describedDatabase(true)]))
  await t.rejects(checkDatabaseDestroyable(target, { outputs: {}, resources: [database] }, rds), {
    message: 'dev cannot be destroyed: deletion protection of database shop is on. Nothing was changed',
    nextStep: /--db-instance-identifier shop --region eu-central-1 --no-deletion-protection/,
  })
})

t.test('a destroy names the snapshot that remains of the database', async (t) => {
  const { rds } = aws(t, await serve(t, () => [200, describedDatabase(false)]))
  const check = (values: Record<string, unknown>) =>
    checkDatabaseDestroyable(
      target,
      { outputs: {}, resources: [resource('aws_db_instance', { identifier: 'shop', ...values })] },
      rds,
    )
  const final_snapshot_identifier = 'shop-final-20261122-210000'
  t.equal(await check({ skip_final_snapshot: false, final_snapshot_identifier }), final_snapshot_identifier)
  t.equal(await check({ skip_final_snapshot: true, final_snapshot_identifier }), undefined)
})
