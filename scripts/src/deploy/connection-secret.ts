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
 * Provides the Secret with the connection URLs of database and cache. On AWS the External Secrets operator creates it.
 * In the box it is copied from the box's Secrets Manager. In a user's own cluster (`ENV=local` with `KUBE_CONTEXT`) the
 * user may have created it.
 *
 * @returns whether there is a Secret for the pods to use
 * @throws ActionableError when the box has no secret to copy
 * @throws ApiException when the cluster refuses a request
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
 * Copies a JSON object of strings from AWS Secrets Manager to a Secret of the cluster, key by key, as the External
 * Secrets operator would.
 *
 * @param id - name of the secret in Secrets Manager
 * @throws ActionableError when the secret is missing or has another format
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
      // Server-side apply also removes keys that are no longer in the source.
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
        'see `make status`; if the box was created by an older checkout, recreate it with `make down` and `make up`',
        { cause },
      )
    })
  const values = parse(SecretString)
  if (values !== undefined) return values
  // The message must not contain the value, which may be a password.
  throw new ActionableError(
    `the secret ${id} in Secrets Manager is not a JSON object of strings`,
    'set it to {"DATABASE_URL": "...", "REDIS_URL": "..."} with `aws secretsmanager put-secret-value`',
  )
}

function parse(text: string | undefined): Record<string, string> | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '')
    return isStringRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isStringRecord(value: unknown): value is Record<string, string> {
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
