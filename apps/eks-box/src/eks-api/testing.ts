import { join } from 'node:path'
import type { Test } from 'tap'
import { authenticate } from '../aws/authentication.ts'
import type { Caller } from '../aws/caller.ts'
import { AccountKeys } from '../aws/keys.ts'
import type { AwsRequest } from '../aws/request.ts'
import type { Signer } from '../aws/testing.ts'
import { CALLER_HEADER, type EksApiOptions } from './api.ts'
import { EksException } from './exception.ts'
import type { Nodegroup } from './model.ts'
import type { FleetError } from './node-group-fleet.ts'
import { buildEksApi } from './server.ts'
import { Store } from './store.ts'
import { TOKEN_LIFETIME } from './token.ts'

/** A response of the API with its parsed body. */
export interface TestResponse {
  status: number
  /** The error's type, as SDKs read it from its header. */
  type: string | undefined
  // biome-ignore lint/suspicious/noExplicitAny: the shape depends on the operation, and tests assert it
  body: any
}

export const account = '123456789012'
export const region = 'eu-central-1'
export const name = 'fastify-eks-cluster'
export const role = (role: string) => `arn:aws:iam::${account}:role/${role}`
export const policy = (policy: string) => `arn:aws:eks::aws:cluster-access-policy/${policy}`

/** The owners of the tests' access keys. */
export const callers: Readonly<Record<string, Caller>> = {
  AKIAOPERATOR: {
    account,
    userId: 'AIDAOPERATOR',
    arn: `arn:aws:iam::${account}:user/operator`,
    principalArn: `arn:aws:iam::${account}:user/operator`,
  },
  ASIADEPLOY: {
    account,
    userId: 'AROADEPLOY:ci@main',
    arn: `arn:aws:sts::${account}:assumed-role/deploy/ci@main`,
    principalArn: role('deploy'),
  },
}

/** The secrets and session tokens of the tests. */
export const keys = new AccountKeys(Buffer.alloc(32, 'tests'))

/** Verifies the signature of one of `callers`. */
export const verifyToken = (request: AwsRequest) =>
  authenticate(request, keys, async (accessKeyId) => callers[accessKeyId], TOKEN_LIFETIME)

/** The credentials of one of `callers`. */
export function signerOf(accessKeyId: string): Signer {
  const expiresAt = Date.now() + 3_600_000
  return {
    accessKeyId,
    secretAccessKey: keys.secretOf(accessKeyId),
    ...(accessKeyId.startsWith('ASIA')
      ? { sessionToken: keys.sessionToken({ accessKeyId, expiresAt }) }
      : {}),
  }
}

/** The smallest valid request for a cluster. */
export const minimalCluster = {
  name,
  roleArn: role('cluster'),
  resourcesVpcConfig: { subnetIds: ['subnet-a', 'subnet-b'] },
  accessConfig: { authenticationMode: 'API' },
}

/** A fleet whose nodes are ready at once, unless it has a `failure`. */
export interface TestFleet {
  /** The groups as they were when they had to converge. */
  converged: Nodegroup[]
  /** Names of the removed groups. */
  removed: string[]
  failure?: FleetError
}

/** A cluster in which add-ons are available at once, unless it has a `failure`. */
export interface TestWorkloads {
  /** The add-ons in the order of their installations, with their versions. */
  installed: string[]
  removed: string[]
  failure?: Error
}

/** The API over a fake account with two subnets in one VPC and a third in another. */
export async function startApi(t: Test) {
  const stateFile = join(t.testdir(), 'eks.json')
  const fleet: TestFleet = { converged: [], removed: [] }
  const workloads: TestWorkloads = { installed: [], removed: [] }
  const securityGroups = new Set<string>()
  const zones: Record<string, { vpcId: string; zone: string }> = {
    'subnet-a': { vpcId: 'vpc-1', zone: 'eu-central-1a' },
    'subnet-b': { vpcId: 'vpc-1', zone: 'eu-central-1b' },
    'subnet-other': { vpcId: 'vpc-2', zone: 'eu-central-1c' },
  }
  const options: EksApiOptions = {
    account,
    region,
    cluster: {
      name,
      version: '1.35',
      patchVersion: '1.35.4',
      endpoint: 'https://127.0.0.1:6443',
      certificateAuthority: 'Y2VydGlmaWNhdGU=',
      oidcIssuer: 'https://127.0.0.1:6443',
      serviceCidr: '172.20.0.0/16',
    },
    addons: new Map([
      ['coredns', { type: 'networking', versions: ['v1.13.1-eksbuild.1', 'v1.13.2-eksbuild.1'] }],
      ['vpc-cni', { type: 'networking', versions: ['v1.21.1-eksbuild.1'] }],
      ['aws-ebs-csi-driver', { type: 'storage', versions: ['v1.50.1-eksbuild.1'] }],
    ]),
    principalExists: async (arn) => !arn.endsWith('/missing'),
    describeSubnets: async (ids) =>
      ids.map((id) => {
        const subnet = zones[id]
        if (subnet !== undefined) return { id, ...subnet }
        throw new EksException('InvalidParameterException', `The subnet ID '${id}' does not exist`)
      }),
    createClusterSecurityGroup: async () => {
      const id = `sg-${securityGroups.size + 1}`
      securityGroups.add(id)
      return id
    },
    deleteSecurityGroup: async (id) => {
      securityGroups.delete(id)
    },
    fleet: {
      converge: async (group) => {
        fleet.converged.push(structuredClone(group))
        if (fleet.failure !== undefined) throw fleet.failure
        return `eks-${group.nodegroupName}`
      },
      remove: async ({ nodegroupName }) => {
        fleet.removed.push(nodegroupName)
      },
    },
    addonInstaller: {
      install: async ({ addonName, addonVersion }) => {
        workloads.installed.push(`${addonName} ${addonVersion}`)
        if (workloads.failure !== undefined) throw workloads.failure
      },
      remove: async (addonName) => {
        workloads.removed.push(addonName)
      },
    },
    addonReadyTimeout: 1000,
  }
  const store = new Store(stateFile)
  const app = await buildEksApi(store, options)
  t.teardown(() => app.close())

  let elapsed = 0
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() + elapsed })

  const call = async (
    method: 'GET' | 'POST' | 'DELETE',
    url: string,
    body?: object,
  ): Promise<TestResponse> => {
    const response = await app.inject({
      method,
      url,
      headers: {
        [CALLER_HEADER]: JSON.stringify(callers['AKIAOPERATOR']),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { payload: body }),
    })
    return {
      status: response.statusCode,
      type: response.headers['x-amzn-errortype']?.toString(),
      body: response.json(),
    }
  }
  return {
    app,
    options,
    store,
    stateFile,
    /** What the fleet of the node groups was asked for. */
    fleet,
    /** What the cluster was asked for. */
    workloads,
    securityGroups,
    /** Advances the clock until every transition is complete. */
    wait: () => {
      elapsed += 60_000
    },
    get: (url: string) => call('GET', url),
    post: (url: string, body: object = {}) => call('POST', url, body),
    delete: (url: string) => call('DELETE', url),
  }
}

export type TestApi = Awaited<ReturnType<typeof startApi>>

/** The API with an ACTIVE cluster; `input` is merged into the minimal request. */
export async function startCluster(t: Test, input: object = {}): Promise<TestApi> {
  const api = await startApi(t)
  const { status, body } = await api.post('/clusters', { ...minimalCluster, ...input })
  t.equal(status, 200, JSON.stringify(body))
  api.wait()
  return api
}
