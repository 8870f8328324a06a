/** Makes the External Secrets operator read the service's secret again, before a rollout compares it with the last one. */
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiException, type CustomObjectsApi, PatchStrategy, setHeaderOptions } from '@kubernetes/client-node'
import { ActionableError } from 'shared/errors'
import { parseAllDocuments } from 'yaml'

const KIND = { group: 'external-secrets.io', version: 'v1', plural: 'externalsecrets' } as const

/** The operator reads the store again when an annotation changes. */
const REQUESTED = 'fastify-eks/requested'

/** The parts of an ExternalSecret that matter to a deployment. */
export interface ExternalSecret {
  apiVersion?: string
  kind?: string
  metadata: { name: string; namespace?: string; annotations?: Record<string, string> }
  spec?: { target?: { name?: string } }
  status?: {
    /** When the operator last read the store. */
    refreshTime?: string
    conditions?: { type: string; status: string; reason?: string; message?: string }[]
  }
}

/** The ExternalSecret with a name among rendered manifests. */
export function findExternalSecret(manifests: string, name: string): ExternalSecret | undefined {
  return parseAllDocuments(manifests)
    .map((document) => (document.toJS() ?? {}) as ExternalSecret)
    .find(({ kind, metadata }) => kind === 'ExternalSecret' && metadata.name === name)
}

/** Reads an ExternalSecret; undefined when there is none, or the cluster lacks the kind. */
export async function readExternalSecret(
  api: CustomObjectsApi,
  namespace: string,
  name: string,
): Promise<ExternalSecret | undefined> {
  try {
    return (await api.getNamespacedCustomObject({ ...KIND, namespace, name })) as ExternalSecret
  } catch (failure) {
    if (failure instanceof ApiException && failure.code === 404) return undefined
    throw failure
  }
}

/**
 * Applies an ExternalSecret and waits until the operator has read the store. Its Secret then has the store's content.
 *
 * @param timeout - in seconds
 * @throws ActionableError when there is no operator, or it cannot read the store
 */
export async function synchronize(
  api: CustomObjectsApi,
  namespace: string,
  secret: ExternalSecret,
  timeout: number,
): Promise<void> {
  const { name } = secret.metadata
  // The status has only whole seconds.
  const since = Math.floor(Date.now() / 1000) * 1000
  await apply(api, namespace, {
    ...secret,
    metadata: { name, namespace, annotations: { [REQUESTED]: new Date().toISOString() } },
  })
  const deadline = Date.now() + timeout * 1000
  for (;;) {
    const { status } = (await readExternalSecret(api, namespace, name)) ?? {}
    const ready = status?.conditions?.find(({ type }) => type === 'Ready')
    if (ready?.status === 'True' && Date.parse(status?.refreshTime ?? '') >= since) return
    if (Date.now() > deadline) {
      throw new ActionableError(
        `the secret ${name} was not read from Secrets Manager: ${ready?.status === 'False' ? `${ready.reason}: ${ready.message}` : 'no operator has processed it'}`,
        `see \`kubectl describe externalsecret ${name} --namespace ${namespace}\`, and check that the External Secrets operator runs and may read the store`,
      )
    }
    await sleep(500)
  }
}

async function apply(api: CustomObjectsApi, namespace: string, body: ExternalSecret): Promise<void> {
  try {
    await api.patchNamespacedCustomObject(
      { ...KIND, namespace, name: body.metadata.name, body, fieldManager: 'deploy', force: true },
      setHeaderOptions('Content-Type', PatchStrategy.ServerSideApply),
    )
  } catch (cause) {
    if (!(cause instanceof ApiException && cause.code === 404)) throw cause
    throw new ActionableError(
      'the cluster has no External Secrets operator',
      'install it with `make apply STACK=platform`, then run `make deploy` again',
      { cause },
    )
  }
}
