import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance } from 'fastify'
import type { BoxConfig } from 'shared/box'
import { Type } from 'typebox'
import { stringify } from 'yaml'
import { PORTS } from '../cluster.ts'
import { boxPaths } from '../state-directory.ts'
import type { Resources } from './spec.ts'

export interface CapacityWebhookOptions {
  /** Certificate and key of the API server, whose certificate authority the webhook's configuration trusts. */
  tls: { cert: string; key: string }
  /** The capacity of a node's instance type; undefined for a node that is not an instance. */
  capacityOf: (node: string) => Resources | undefined
}

/** A Node object with 50 images, with room for the rest of the review, in bytes. */
const largestReview = 2 ** 20

const AdmissionReview = Type.Object({
  request: Type.Object({
    uid: Type.String(),
    object: Type.Object({
      metadata: Type.Object({ name: Type.String() }),
      status: Type.Optional(
        Type.Object({ capacity: Type.Optional(Type.Record(Type.String(), Type.Unknown())) }),
      ),
    }),
  }),
})

/**
 * Replaces the capacity that kubelets report, which is that of this machine, by that of the instance type. Karpenter
 * takes the memory of a registered node as that of all nodes of the type, and counts capacities towards the limits of a
 * NodePool.
 */
export async function buildCapacityWebhook({
  tls,
  capacityOf,
}: CapacityWebhookOptions): Promise<FastifyInstance> {
  const app = fastify({ https: tls, bodyLimit: largestReview })
    .setValidatorCompiler(TypeBoxValidatorCompiler)
    .withTypeProvider<TypeBoxTypeProvider>()
  app.post('/capacity', { schema: { body: AdmissionReview } }, async ({ body }) => {
    const { uid, object } = body.request
    const capacity = object.status?.capacity === undefined ? undefined : capacityOf(object.metadata.name)
    const patch =
      capacity === undefined
        ? {}
        : { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patchOf(capacity))).toString('base64') }
    return {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { uid, allowed: true, ...patch },
    }
  })
  await app.ready()
  return app as unknown as FastifyInstance
}

function patchOf({ milliCpu, memoryMiB }: Resources) {
  return [
    { op: 'add', path: '/status/capacity/cpu', value: `${milliCpu}m` },
    { op: 'add', path: '/status/capacity/memory', value: `${memoryMiB}Mi` },
  ]
}

/** Manifest of the webhook's configuration, which the API server's component applies. */
export function capacityWebhookManifest(config: BoxConfig): string {
  return join(boxPaths(config).config, 'node-capacity-webhook.yaml')
}

/** Writes the webhook's configuration, with the box's certificate authority. */
export async function writeCapacityWebhookManifest(config: BoxConfig): Promise<void> {
  const authority = await readFile(join(boxPaths(config).pki, 'ca.crt'))
  const rule = { apiGroups: [''], apiVersions: ['v1'], scope: 'Cluster' }
  const manifest = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name: 'node-capacity' },
    webhooks: [
      {
        name: 'node-capacity.eks-box.local',
        clientConfig: {
          url: `https://127.0.0.1:${PORTS.nodeCapacityWebhook}/capacity`,
          caBundle: authority.toString('base64'),
        },
        rules: [
          { ...rule, operations: ['CREATE'], resources: ['nodes'] },
          { ...rule, operations: ['UPDATE'], resources: ['nodes/status'] },
        ],
        // Simulated nodes are not instances.
        objectSelector: { matchExpressions: [{ key: 'kwok.x-k8s.io/node', operator: 'DoesNotExist' }] },
        // A node without the right capacity is better than no node.
        failurePolicy: 'Ignore',
        sideEffects: 'None',
        timeoutSeconds: 5,
        admissionReviewVersions: ['v1'],
      },
    ],
  }
  await writeFile(capacityWebhookManifest(config), stringify(manifest))
}
