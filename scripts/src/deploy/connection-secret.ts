import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { ApiException, type CoreV1Api, PatchStrategy, setHeaderOptions } from '@kubernetes/client-node'
import { awsEnvironment, CONNECTION_SECRET, REGION } from 'shared/box'
import type { Environment } from 'shared/environment'
import { ActionableError } from 'shared/errors'

/** A Secret of the cluster. */
export interface SecretReference {
  namespace: string
  name: string
}

/**
 * Puts the connection URLs of database and cache where the chart's pods find them. On AWS the External Secrets
 * operator does that, so nothing is done there; in the box, whose Secrets Manager holds them, they are copied. A
 * cluster of the user's own with `ENV=local` has a Secret or has none.
 *
 * @returns whether there is a Secret for the pods to use.
 * @throws ActionableError when the box has nothing to copy; ApiException when the cluster refuses.
 */
export async function provideConnectionSecret(
  { name, usesBox, box }: Environment,
  core: CoreV1Api,
  secret: SecretReference,
): Promise<boolean> {
  if (name !== 'local') return true
  if (!usesBox) return hasSecret(core, secret)
  const aws = awsEnvironment(box)
  const secretsManager = new SecretsManagerClient({
    endpoint: aws['AWS_ENDPOINT_URL'] ?? '',
    region: REGION,
    credentials: {
      accessKeyId: aws['AWS_ACCESS_KEY_ID'] ?? '',
      secretAccessKey: aws['AWS_SECRET_ACCESS_KEY'] ?? '',
    },
  })
  await copySecret(secretsManager, CONNECTION_SECRET, core, secret)
  return true
}

/**
 * Copies a secret of AWS Secrets Manager, a JSON object of texts, to a Secret of the cluster, key by key: what
 * the External Secrets operator does where one runs.
 *
 * @param id name of the secret in Secrets Manager.
 * @throws ActionableError when it is not there or holds something else.
 */
export async function copySecret(
  secretsManager: SecretsManagerClient,
  id: string,
  core: CoreV1Api,
  { namespace, name }: SecretReference,
): Promise<void> {
  const values = await readSecret(secretsManager, id)
  const data = Object.fromEntries(
    Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
  )
  await core.patchNamespacedSecret(
    {
      namespace,
      name,
      // Applied, so that keys that are gone from the source go from the copy as well.
      body: { apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name }, data },
      fieldManager: 'deploy',
      force: true,
    },
    setHeaderOptions('Content-Type', PatchStrategy.ServerSideApply),
  )
}

async function readSecret(secretsManager: SecretsManagerClient, id: string): Promise<Record<string, string>> {
  const { SecretString } = await secretsManager
    .send(new GetSecretValueCommand({ SecretId: id }))
    .catch((cause: unknown) => {
      throw new ActionableError(
        `the secret ${id} cannot be read from Secrets Manager: ${cause instanceof Error ? cause.message : cause}`,
        'see `make status`; a box that lacks it is older than this checkout: `make down` and `make up` make a new one',
        { cause },
      )
    })
  const values = parse(SecretString)
  if (values !== undefined) return values
  // What it does hold may be a password, and is not shown.
  throw new ActionableError(
    `the secret ${id} in Secrets Manager is no JSON object of texts`,
    'put {"DATABASE_URL": "...", "REDIS_URL": "..."} there with `aws secretsmanager put-secret-value`',
  )
}

function parse(text: string | undefined): Record<string, string> | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '')
    return isTexts(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isTexts(value: unknown): value is Record<string, string> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((entry) => typeof entry === 'string')
  )
}

async function hasSecret(core: CoreV1Api, { namespace, name }: SecretReference): Promise<boolean> {
  try {
    await core.readNamespacedSecret({ namespace, name })
    return true
  } catch (failure) {
    if (failure instanceof ApiException && failure.code === 404) return false
    throw failure
  }
}
