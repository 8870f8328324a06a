import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ActionableError } from 'shared/errors'
import t from 'tap'
import {
  customResourceSchemas,
  kubernetesSchemas,
  storeCustomResourceSchemas,
  storeKubernetesSchemas,
} from './kubernetes-schemas.ts'

const QUANTITY = 'io.k8s.apimachinery.pkg.api.resource.Quantity'

/** A small document with each construct of Kubernetes' own. */
const DEFINITIONS = {
  'io.example.Gadget': {
    description: 'A kind with recursive parts.',
    type: 'object',
    required: ['name'],
    properties: {
      name: { description: 'Its name.', type: 'string' },
      size: { $ref: `#/definitions/${QUANTITY}` },
      port: { type: 'string', format: 'int-or-string' },
      labels: { type: 'object', additionalProperties: { type: 'string' } },
      anything: { type: 'object' },
      parts: { type: 'array', items: { $ref: '#/definitions/io.example.Part' } },
    },
    'x-kubernetes-group-version-kind': [{ group: 'gadgets.example.io', version: 'v1beta1', kind: 'Gadget' }],
  },
  'io.example.Part': {
    type: 'object',
    // A property may have the name of a keyword.
    properties: {
      parts: { type: 'array', items: { $ref: '#/definitions/io.example.Part' } },
      description: { type: 'string' },
    },
  },
  'io.example.Plain': {
    type: 'object',
    'x-kubernetes-group-version-kind': [{ group: '', version: 'v1', kind: 'Plain' }],
  },
  'io.example.DeleteOptions': {
    type: 'object',
    'x-kubernetes-group-version-kind': [
      { group: '', version: 'v1', kind: 'DeleteOptions' },
      { group: 'gadgets.example.io', version: 'v1beta1', kind: 'DeleteOptions' },
    ],
  },
  [QUANTITY]: { type: 'string' },
}

t.test('there is a schema for each kind, by the file name that kubeconform expects', async (t) => {
  t.strictSame([...kubernetesSchemas(DEFINITIONS).keys()], ['gadget-gadgets-v1beta1.json', 'plain-v1.json'])
})

t.test('a schema is self-contained and refuses undeclared fields', async (t) => {
  const schema = kubernetesSchemas(DEFINITIONS).get('gadget-gadgets-v1beta1.json')
  t.equal(schema?.['$ref'], '#/definitions/io.example.Gadget')
  t.match(schema?.['definitions'], {
    'io.example.Gadget': {
      required: ['name'],
      additionalProperties: false,
      properties: {
        port: { type: ['string', 'integer'] },
        labels: { additionalProperties: { type: 'string' } },
        anything: { type: 'object', additionalProperties: undefined },
      },
    },
    'io.example.Part': { additionalProperties: false, properties: { description: { type: 'string' } } },
    [QUANTITY]: { type: ['string', 'number'] },
  })
  t.notMatch(JSON.stringify(schema), 'Its name.')
})

t.test('a dangling reference is an error', async (t) => {
  const { [QUANTITY]: _, ...incomplete } = DEFINITIONS
  t.throws(
    () => kubernetesSchemas(incomplete),
    new TypeError(`the OpenAPI document does not define ${QUANTITY}`),
  )
})

const WIDGETS = {
  spec: {
    group: 'widgets.example.io',
    names: { kind: 'Widget' },
    versions: ['v1', 'v1beta1'].map((name) => ({
      name,
      schema: {
        openAPIV3Schema: {
          type: 'object',
          properties: {
            metadata: { type: 'object' },
            spec: { description: 'Its spec.', type: 'object', properties: { size: { type: 'integer' } } },
            plugin: {
              type: 'object',
              properties: { name: { type: 'string' } },
              'x-kubernetes-preserve-unknown-fields': true,
            },
          },
        },
      },
    })),
  },
}

t.test(
  'a custom kind has a schema for each version, which allows unknown fields only where its definition does',
  async (t) => {
    const schemas = customResourceSchemas(WIDGETS)
    t.strictSame([...schemas.keys()], ['widget-widgets-v1.json', 'widget-widgets-v1beta1.json'])
    t.match(schemas.get('widget-widgets-v1.json'), {
      additionalProperties: false,
      properties: {
        metadata: { additionalProperties: undefined },
        spec: { additionalProperties: false, properties: { size: { type: 'integer' } } },
        plugin: { additionalProperties: undefined, properties: { name: { type: 'string' } } },
      },
    })
  },
)

t.test('the schemas of custom kinds are written to a directory', async (t) => {
  const directory = t.testdir({ 'widgets.yaml': JSON.stringify(WIDGETS) })
  const stored = storeCustomResourceSchemas([join(directory, 'widgets.yaml')], join(directory, 'schemas'))
  t.strictSame(readdirSync(stored).sort(), ['widget-widgets-v1.json', 'widget-widgets-v1beta1.json'])
})

t.test('schemas are written once per document', async (t) => {
  const directory = t.testdir({ 'swagger.json': JSON.stringify({ definitions: DEFINITIONS }), schemas: {} })
  const openApi = join(directory, 'swagger.json')
  const stored = storeKubernetesSchemas(openApi, join(directory, 'schemas'))
  t.strictSame(readdirSync(stored).sort(), ['gadget-gadgets-v1beta1.json', 'plain-v1.json'])

  const kept = join(stored, 'plain-v1.json')
  writeFileSync(kept, 'kept')
  t.equal(storeKubernetesSchemas(openApi, join(directory, 'schemas')), stored)
  t.equal(readFileSync(kept, 'utf8'), 'kept')

  writeFileSync(openApi, JSON.stringify({ definitions: {} }))
  t.not(storeKubernetesSchemas(openApi, join(directory, 'schemas')), stored)
})

t.test('a file that is not an OpenAPI document is refused', async (t) => {
  const directory = t.testdir({ 'other.json': '{}' })
  const schemas = join(directory, 'schemas')
  mkdirSync(schemas)
  t.throws(() => storeKubernetesSchemas(join(directory, 'none.json'), schemas), ActionableError)
  t.throws(
    () => storeKubernetesSchemas(join(directory, 'other.json'), schemas),
    new ActionableError(
      `${join(directory, 'other.json')} is not an OpenAPI 2 document: it has no definitions`,
      'pass the api/openapi-spec/swagger.json of a Kubernetes source tree',
    ),
  )
  t.strictSame(readdirSync(schemas), [])
})
