import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyRequest,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify'
import { EksFailure } from './failure.ts'
import type { Store } from './store.ts'

/** Who calls, as far as EKS cares. */
export interface Caller {
  account: string
  userId: string
  /** As STS reports it: of a user, or of a session of a role. */
  arn: string
  /** As IAM names it: of the user, or of the role of the session. */
  principalArn: string
}

/**
 * The header in which the API is told who signed a request. The API trusts it: only the gateway, which verifies
 * signatures, can reach it.
 */
export const CALLER_HEADER = 'x-box-caller'

/**
 * Who signed a request.
 *
 * @throws EksFailure when it did not come through the gateway.
 */
export function callerOf({ headers }: Pick<FastifyRequest, 'headers'>): Caller {
  const caller = headers[CALLER_HEADER]
  if (typeof caller !== 'string') {
    throw new EksFailure('MissingAuthenticationTokenException', 'Missing Authentication Token')
  }
  return JSON.parse(caller) as Caller
}

export interface EksApiOptions {
  account: string
  region: string
  /** What the box's cluster is. */
  cluster: {
    name: string
    /** Minor version, such as 1.35. */
    version: string
    /** Patch version, such as 1.35.4. */
    patchVersion: string
    endpoint: string
    /** Of the API server, PEM in base64. */
    certificateAuthority: string
    oidcIssuer: string
    serviceCidr: string
  }
  /** Add-ons by name, each with its type and its versions for this cluster, the default first. */
  addons: ReadonlyMap<string, { type: string; versions: readonly [string, ...string[]] }>
  /** Whether IAM has a user or role of this ARN. */
  principalExists: (arn: string) => Promise<boolean>
  /** @throws EksFailure when one does not exist. */
  describeSubnets: (ids: readonly string[]) => Promise<{ id: string; vpcId: string; zone: string }[]>
  createClusterSecurityGroup: (vpcId: string) => Promise<string>
  deleteSecurityGroup: (id: string) => Promise<void>
  /** Gives the box's node the labels of its node group; null takes one away. */
  labelNode: (labels: Readonly<Record<string, string | null>>) => Promise<void>
}

/** What every group of operations is built from. */
export interface Api {
  app: FastifyInstance<
    RawServerDefault,
    RawRequestDefaultExpression,
    RawReplyDefaultExpression,
    FastifyBaseLogger,
    TypeBoxTypeProvider
  >
  store: Store
  options: EksApiOptions
}
