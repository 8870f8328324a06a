import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { execa } from 'execa'
import t from 'tap'
import { parse } from 'yaml'
import { createGateway } from '../aws/gateway.ts'
import { AUDIENCE, EksAuth } from '../pod-identity/eks-auth.ts'
import { findAssociation } from './pod-identity.ts'
import { callEksApi } from './server.ts'
import { keys, name, startApi, verifyToken } from './testing.ts'
import { buildWebhooks } from './webhooks.ts'

/** A python3 with boto3 and awscli, such as `venv/bin/python3` in the box's tool `aws`. */
const python = process.env['BOX_AWS_PYTHON']

t.test(
  "AWS's own clients accept every response of the API",
  {
    skip: python === undefined && 'BOX_AWS_PYTHON must be a python3 with boto3 and awscli',
  },
  async (t) => {
    const api = await startApi(t)
    const trust = { Effect: 'Allow', Principal: { Service: AUDIENCE }, Action: 'sts:*' }
    const eksAuth = new EksAuth({
      cluster: { name, arn: `arn:aws:eks:eu-central-1:123456789012:cluster/${name}` },
      findAssociation: (account) => findAssociation(api.store.state, account),
      reviewToken: async (token) =>
        token === 'token.of.api' ? { username: 'system:serviceaccount:apps:api' } : undefined,
      principals: { trustPolicy: async () => JSON.stringify({ Statement: trust }) },
      credentials: {
        startRoleSession: async (roleArn, sessionName) => ({
          accessKeyId: 'ASIAMADE',
          secretAccessKey: 'secret',
          sessionToken: 'session',
          expiresAt: new Date(),
          arn: roleArn.replace(':iam:', ':sts:'),
          assumedRoleId: `AROA:${sessionName}`,
        }),
      },
    })
    const gateway = createGateway({
      authenticate: verifyToken,
      eks: (request, { caller }) => callEksApi(api.app, request, caller),
      eksAuth: (request) => eksAuth.handle(request),
      webIdentity: () => Promise.reject(new Error('there is no STS in this test')),
      emulator: () => Promise.reject(new Error('there is no emulator in this test')),
    })
    await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve))
    t.teardown(() => gateway.close())
    const host = `127.0.0.1:${(gateway.address() as AddressInfo).port}`
    const directory = t.testdir()
    const kubeconfig = join(directory, 'kubeconfig')
    const run = (...args: string[]) =>
      execa(python ?? '', args, {
        extendEnv: false,
        env: {
          HOME: directory,
          AWS_ENDPOINT_URL: `http://${host}`,
          AWS_ACCESS_KEY_ID: 'AKIAOPERATOR',
          AWS_SECRET_ACCESS_KEY: keys.secretOf('AKIAOPERATOR'),
          AWS_DEFAULT_REGION: 'eu-central-1',
          AWS_EC2_METADATA_DISABLED: 'true',
        },
      })
    const contract = async (part: string): Promise<string[]> =>
      JSON.parse((await run(join(import.meta.dirname, 'eks-api.contract.py'), part)).stdout)

    const called = new Set(await contract('cluster'))

    await t.test(
      'update-kubeconfig writes the API server, and the webhook accepts tokens of get-token',
      async (t) => {
        await run('-m', 'awscli', 'eks', 'update-kubeconfig', '--name', name, '--kubeconfig', kubeconfig)
        t.match(parse(await readFile(kubeconfig, 'utf8')), {
          clusters: [
            {
              cluster: {
                server: 'https://127.0.0.1:6443',
                'certificate-authority-data': 'Y2VydGlmaWNhdGU=',
              },
            },
          ],
          users: [
            {
              user: {
                exec: { args: ['--region', 'eu-central-1', 'eks', 'get-token', '--cluster-name', name] },
              },
            },
          ],
        })
        const { stdout } = await run('-m', 'awscli', 'eks', 'get-token', '--cluster-name', name)
        const webhooks = await buildWebhooks(api.store, {
          stsHosts: [host],
          cluster: name,
          verify: verifyToken,
          changes: () => '',
          clusterRoleRules: async () => [],
        })
        t.teardown(() => webhooks.close())
        const { token } = JSON.parse(stdout).status
        const response = await webhooks.inject({
          method: 'POST',
          url: '/authenticate',
          payload: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token } },
        })
        t.match(response.json().status, {
          authenticated: true,
          user: { username: 'arn:aws:iam::123456789012:user/operator' },
        })
      },
    )

    for (const operation of await contract('rest')) called.add(operation)
    t.strictSame(
      [...called].sort(),
      [
        'AssociateAccessPolicy',
        'AssociateEncryptionConfig',
        'AssumeRoleForPodIdentity',
        'CreateAccessEntry',
        'CreateAddon',
        'CreateCluster',
        'CreateNodegroup',
        'CreatePodIdentityAssociation',
        'DeleteAccessEntry',
        'DeleteAddon',
        'DeleteCluster',
        'DeleteNodegroup',
        'DeletePodIdentityAssociation',
        'DescribeAccessEntry',
        'DescribeAddon',
        'DescribeAddonConfiguration',
        'DescribeAddonVersions',
        'DescribeCluster',
        'DescribeClusterVersions',
        'DescribeNodegroup',
        'DescribePodIdentityAssociation',
        'DescribeUpdate',
        'DisassociateAccessPolicy',
        'ListAccessEntries',
        'ListAccessPolicies',
        'ListAddons',
        'ListAssociatedAccessPolicies',
        'ListClusters',
        'ListNodegroups',
        'ListPodIdentityAssociations',
        'ListTagsForResource',
        'ListUpdates',
        'TagResource',
        'UntagResource',
        'UpdateAccessEntry',
        'UpdateAddon',
        'UpdateClusterConfig',
        'UpdateClusterVersion',
        'UpdateNodegroupConfig',
        'UpdateNodegroupVersion',
        'UpdatePodIdentityAssociation',
      ],
      'every operation of the API was called',
    )
  },
)
