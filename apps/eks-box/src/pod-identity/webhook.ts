import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance } from 'fastify'
import type { BoxConfig } from 'shared/box'
import { Type } from 'typebox'
import { stringify } from 'yaml'
import { PORTS } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'
import { mutate, type Pod, type ServiceAccount } from './mutation.ts'

export interface WebhookOptions {
  /** Certificate and key of the API server, whose certificate authority the webhook's configuration trusts. */
  tls: { cert: string; key: string }
  /** @throws Error when the API server does not respond. */
  serviceAccount: (namespace: string, name: string) => Promise<ServiceAccount>
}

/** The largest pod that the API server can store, with room for the rest of the review, in bytes. */
const largestReview = 4 * 2 ** 20

const AdmissionReview = Type.Object({
  request: Type.Object({
    uid: Type.String(),
    namespace: Type.String(),
    object: Type.Unsafe<Pod>(
      Type.Object({ spec: Type.Object({ containers: Type.Array(Type.Object({ name: Type.String() })) }) }),
    ),
  }),
})

/** EKS's pod identity webhook, which gives new pods the token and the variables for their AWS credentials. */
export async function buildPodIdentityWebhook({
  tls,
  serviceAccount,
}: WebhookOptions): Promise<FastifyInstance> {
  const app = fastify({ https: tls, bodyLimit: largestReview })
    .setValidatorCompiler(TypeBoxValidatorCompiler)
    .withTypeProvider<TypeBoxTypeProvider>()

  app.post('/mutate', { schema: { body: AdmissionReview } }, async ({ body }) => {
    const { uid, namespace, object: pod } = body.request
    const patch = mutate(pod, await serviceAccount(namespace, pod.spec.serviceAccountName ?? 'default'))
    return {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: {
        uid,
        allowed: true,
        ...(patch.length === 0
          ? {}
          : { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') }),
      },
    }
  })
  // The API server ignores a failure and creates the pod without credentials, so only the log shows the cause.
  app.addHook('onError', async (_request, _reply, error) => {
    console.error(`a pod gets no credentials: ${error.message}`)
  })

  await app.ready()
  return app as unknown as FastifyInstance
}

/** Manifest of the webhook's configuration, which the API server's component applies. */
export function webhookManifest(config: BoxConfig): string {
  return join(boxPaths(config).config, 'pod-identity-webhook.yaml')
}

/** Writes the webhook's configuration, with the values of EKS and the box's certificate authority. */
export async function writeWebhookManifest(config: BoxConfig): Promise<void> {
  const authority = await readFile(join(boxPaths(config).pki, 'ca.crt'))
  const manifest = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name: 'pod-identity-webhook' },
    webhooks: [
      {
        name: 'iam-for-pods.amazonaws.com',
        clientConfig: {
          url: `https://127.0.0.1:${PORTS.podIdentityWebhook}/mutate`,
          caBundle: authority.toString('base64'),
        },
        rules: [
          { operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], scope: '*' },
        ],
        objectSelector: {
          matchExpressions: [
            { key: 'eks.amazonaws.com/skip-pod-identity-webhook', operator: 'DoesNotExist' },
          ],
        },
        failurePolicy: 'Ignore',
        reinvocationPolicy: 'IfNeeded',
        sideEffects: 'None',
        timeoutSeconds: 10,
        admissionReviewVersions: ['v1'],
      },
    ],
  }
  await writeFile(webhookManifest(config), stringify(manifest))
}
