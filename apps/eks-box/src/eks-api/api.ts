import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyRequest,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify'
import type { Caller } from '../aws/caller.ts'
import type { AddonInstaller } from './addon-installer.ts'
import { EksException } from './exception.ts'
import type { NodeGroupFleet } from './node-group-fleet.ts'
import type { Store } from './store.ts'

/**
 * Header with the verified caller of a request. The API trusts it, because only the gateway, which verifies signatures,
 * can reach the API.
 */
export const CALLER_HEADER = 'x-box-caller'

/**
 * Reads the caller of a request.
 *
 * @throws EksException when the request did not come through the gateway.
 */
export function callerOf({ headers }: Pick<FastifyRequest, 'headers'>): Caller {
  const caller = headers[CALLER_HEADER]
  if (typeof caller !== 'string') {
    throw new EksException('MissingAuthenticationTokenException', 'Missing Authentication Token')
  }
  return JSON.parse(caller) as Caller
}

export interface EksApiOptions {
  account: string
  region: string
  /** The real properties of the box's cluster. */
  cluster: {
    name: string
    /** Minor version, such as 1.35. */
    version: string
    /** Patch version, such as 1.35.4. */
    patchVersion: string
    endpoint: string
    /** CA certificate of the API server: PEM, encoded in base64. */
    certificateAuthority: string
    oidcIssuer: string
    serviceCidr: string
  }
  /** The supported add-ons by name, with their type and their versions for this cluster, default version first. */
  addons: ReadonlyMap<string, { type: string; versions: readonly [string, ...string[]] }>
  /** Whether IAM has a user or role with this ARN. */
  principalExists: (arn: string) => Promise<boolean>
  /** @throws EksException when a subnet does not exist. */
  describeSubnets: (ids: readonly string[]) => Promise<{ id: string; vpcId: string; zone: string }[]>
  createClusterSecurityGroup: (vpcId: string) => Promise<string>
  deleteSecurityGroup: (id: string) => Promise<void>
  fleet: NodeGroupFleet
  addonInstaller: AddonInstaller
  /** From the start of an installation until EKS reports the add-on as degraded, in milliseconds. */
  addonReadyTimeout: number
}

/** The dependencies of each group of operations. */
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
