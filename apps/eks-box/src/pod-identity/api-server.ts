import { readFile } from 'node:fs/promises'
import { Agent, request as send } from 'node:https'
import { join } from 'node:path'
import type { BoxConfig } from 'shared/box'
import { parse } from 'yaml'
import { boxPaths } from '../state-directory.ts'

/** Sends a request to the API server; resolves with the status and the parsed body. */
export type SendToApiServer = (
  method: 'GET' | 'POST',
  path: string,
  body?: object,
) => Promise<{ status: number; body: unknown }>

/** The user of a verified token (Kubernetes API, TokenReview v1). */
export interface TokenUser {
  username: string
  extra?: Record<string, string[]>
}

/** The webhook's time limit is 10 s. */
const timeout = 5_000

/**
 * A connection to the box's API server as its administrator. kubectl would take a tenth of a second for each pod that
 * is created.
 */
export async function connectToApiServer(config: BoxConfig): Promise<SendToApiServer> {
  const text = await readFile(join(boxPaths(config).kubeconfigs, 'admin.conf'), 'utf8')
  const { clusters, users } = parse(text) as {
    clusters: [{ cluster: { server: string; 'certificate-authority-data': string } }]
    users: [{ user: { 'client-certificate-data': string; 'client-key-data': string } }]
  }
  const [{ cluster }] = clusters
  const [{ user }] = users
  const decode = (data: string) => Buffer.from(data, 'base64')
  const agent = new Agent({
    keepAlive: true,
    ca: decode(cluster['certificate-authority-data']),
    cert: decode(user['client-certificate-data']),
    key: decode(user['client-key-data']),
  })
  return (method, path, body) => {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: unknown }>()
    const headers = { accept: 'application/json', 'content-type': 'application/json' }
    const request = send(new URL(path, cluster.server), { agent, method, headers }, async (response) => {
      try {
        const content = Buffer.concat((await response.toArray()) as Buffer[]).toString()
        resolve({ status: response.statusCode ?? 500, body: JSON.parse(content) })
      } catch (error) {
        reject(error)
      }
    })
    request.on('error', reject)
    request.setTimeout(timeout, () => {
      request.destroy(new Error(`the API server did not respond within ${timeout / 1000} s`))
    })
    request.end(body === undefined ? undefined : JSON.stringify(body))
    return promise
  }
}

/** The annotations of a service account; none when it does not exist. */
export async function serviceAccountAnnotations(
  send: SendToApiServer,
  namespace: string,
  name: string,
): Promise<Record<string, string>> {
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/serviceaccounts/${encodeURIComponent(name)}`
  const { status, body } = await send('GET', path)
  if (status === 404) return {}
  if (status !== 200) throw new Error(`the API server responded with ${status} to GET ${path}`)
  return (body as { metadata: { annotations?: Record<string, string> } }).metadata.annotations ?? {}
}

/** Verifies a service account token for an audience; undefined when it is not valid, or its pod no longer exists. */
export async function reviewToken(
  send: SendToApiServer,
  token: string,
  audience: string,
): Promise<TokenUser | undefined> {
  const path = '/apis/authentication.k8s.io/v1/tokenreviews'
  const { status, body } = await send('POST', path, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token, audiences: [audience] },
  })
  if (status !== 201) throw new Error(`the API server responded with ${status} to POST ${path}`)
  const review = (body as { status: { authenticated?: boolean; audiences?: string[]; user?: TokenUser } })
    .status
  // An authenticator that does not know audiences lists none.
  const isValid = review.authenticated === true && review.audiences?.includes(audience) === true
  return isValid ? review.user : undefined
}
