import {
  AddTagsToResourceCommand,
  type ElastiCacheClient,
  ListTagsForResourceCommand,
  ModifyReplicationGroupCommand,
  paginateDescribeReplicationGroups,
  waitUntilReplicationGroupAvailable,
} from '@aws-sdk/client-elasticache'
import { GetSecretValueCommand, type SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import type { Environment } from 'shared/environment'
import { ActionableError } from 'shared/errors'
import { awsClients } from './aws.ts'
import { stackOutputs } from './state.ts'

/** Tag of the replication group: the version of the service's secret that contains its token. The stack ignores it. */
export const TOKEN_TAG = 'fastify-eks/token-of-secret-version'

/** How long ElastiCache may take to change a token, in seconds. */
const TOKEN_TIMEOUT = 1800

/**
 * Gives the cache the token that the service's secret contains, after an apply of the data stack. Terraform cannot do it
 * without writing the token to its state (docs/adr/0025-passwords-outside-the-state.md).
 *
 * @throws ActionableError when the secret contains no token, or ElastiCache does not accept it in time
 */
export async function shareCacheToken(environment: Environment): Promise<void> {
  const { data, cluster } = await stackOutputs(environment, 'data', 'cluster')
  const { service_secret: secret, cache } = data
  const clients = awsClients(environment, String(cluster['region']))
  const { replication_group_id: group } = cache as { replication_group_id: string }
  await setCacheToken(clients, group, String(secret), (line) => console.log(line))
}

/** @throws ActionableError when the secret contains no token, or ElastiCache does not accept it in time */
export async function setCacheToken(
  { elastiCache, secretsManager }: { elastiCache: ElastiCacheClient; secretsManager: SecretsManagerClient },
  group: string,
  secret: string,
  log: (line: string) => void,
): Promise<void> {
  const arn = await arnOf(elastiCache, group)
  const { TagList = [] } = await elastiCache.send(new ListTagsForResourceCommand({ ResourceName: arn }))
  const former = TagList.find(({ Key }) => Key === TOKEN_TAG)?.Value
  const { SecretString = '', VersionId = '' } = await secretsManager.send(
    new GetSecretValueCommand({ SecretId: secret }),
  )
  if (former === VersionId) return
  const AuthToken = tokenOf(SecretString, secret)
  const change = async (AuthTokenUpdateStrategy: 'ROTATE' | 'SET') => {
    await elastiCache.send(
      new ModifyReplicationGroupCommand({
        ReplicationGroupId: group,
        AuthToken,
        AuthTokenUpdateStrategy,
        ApplyImmediately: true,
      }),
    )
    await waitUntilReplicationGroupAvailable(
      { client: elastiCache, maxWaitTime: TOKEN_TIMEOUT, minDelay: 1, maxDelay: 15 },
      { ReplicationGroupId: group },
    ).catch((cause: unknown) => {
      throw new ActionableError(
        `the cache ${group} did not become available with its new token`,
        'see its events in the ElastiCache console, then run the command again',
        { cause },
      )
    })
  }
  // ElastiCache then accepts the former token, too, or at first clients without one.
  await change('ROTATE')
  if (former === undefined) await change('SET')
  await elastiCache.send(
    new AddTagsToResourceCommand({ ResourceName: arn, Tags: [{ Key: TOKEN_TAG, Value: VersionId }] }),
  )
  log(`the cache ${group} accepts the token of ${secret}`)
}

async function arnOf(elastiCache: ElastiCacheClient, ReplicationGroupId: string): Promise<string> {
  for await (const { ReplicationGroups = [] } of paginateDescribeReplicationGroups(
    { client: elastiCache },
    { ReplicationGroupId },
  )) {
    const arn = ReplicationGroups[0]?.ARN
    if (arn !== undefined) return arn
  }
  throw new ActionableError(
    `ElastiCache has no replication group ${ReplicationGroupId}`,
    'it was deleted outside Terraform: run `make apply STACK=data` again',
  )
}

/** The password in the secret's REDIS_URL. */
function tokenOf(text: string, secret: string): string {
  try {
    const { REDIS_URL } = JSON.parse(text) as { REDIS_URL?: string }
    const token = new URL(REDIS_URL ?? '').password
    if (token !== '') return token
  } catch {
    // The error below must not quote the secret.
  }
  throw new ActionableError(
    `the secret ${secret} contains no REDIS_URL with a password`,
    'someone has changed it: increase credentials_version to write it again',
  )
}
