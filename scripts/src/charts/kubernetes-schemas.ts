import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ActionableError } from 'shared/errors'
import { parse } from 'yaml'

/** The parts of a schema in Kubernetes' OpenAPI 2 document that the conversion needs. */
interface OpenApiSchema {
  $ref?: string
  description?: string
  format?: string
  properties?: Record<string, OpenApiSchema>
  items?: OpenApiSchema
  additionalProperties?: OpenApiSchema
  'x-kubernetes-preserve-unknown-fields'?: boolean
  'x-kubernetes-group-version-kind'?: { group: string; version: string; kind: string }[]
  [keyword: string]: unknown
}

/** The parts of a CustomResourceDefinition that the conversion needs. */
interface CustomResourceDefinition {
  spec: {
    group: string
    names: { kind: string }
    versions: { name: string; schema: { openAPIV3Schema: OpenApiSchema } }[]
  }
}

type JsonSchema = Record<string, unknown>

const DRAFT = 'http://json-schema.org/draft-07/schema#'

const REFERENCE_PREFIX = '#/definitions/'
const QUANTITY = 'io.k8s.apimachinery.pkg.api.resource.Quantity'

/**
 * Converts the definitions of Kubernetes' OpenAPI 2 document (`swagger.json`) to JSON Schemas that refuse unknown fields.
 *
 * @returns a self-contained schema for each kind, by the file name that kubeconform expects
 */
export function kubernetesSchemas(definitions: Record<string, OpenApiSchema>): Map<string, JsonSchema> {
  const schemas = new Map<string, JsonSchema>()
  for (const [name, definition] of Object.entries(definitions)) {
    const [kind, ...others] = definition['x-kubernetes-group-version-kind'] ?? []
    // Kinds in several groups, such as DeleteOptions, only occur in requests.
    if (kind === undefined || others.length > 0) continue
    schemas.set(fileName(kind), {
      $schema: DRAFT,
      $ref: REFERENCE_PREFIX + name,
      definitions: reachableFrom(name, definitions),
    })
  }
  return schemas
}

/**
 * Converts the schemas of a CustomResourceDefinition, one for each version, to JSON Schemas that refuse unknown fields.
 *
 * @returns the schemas by the file name that kubeconform expects
 */
export function customResourceSchemas({ spec }: CustomResourceDefinition): Map<string, JsonSchema> {
  return new Map(
    spec.versions.map(({ name: version, schema }) => [
      fileName({ group: spec.group, version, kind: spec.names.kind }),
      // Schemas of custom kinds contain no references.
      { $schema: DRAFT, ...strict(schema.openAPIV3Schema, () => {}) },
    ]),
  )
}

/** `<kind>-<first label of the group>-<version>.json`, without the label for the core group. */
function fileName({ group, version, kind }: { group: string; version: string; kind: string }): string {
  const label = group === '' ? [] : [group.split('.')[0]]
  return `${[kind, ...label, version].join('-').toLowerCase()}.json`
}

/** Converts the definition `name` and all that it refers to. It keeps references, because some are recursive. */
function reachableFrom(name: string, definitions: Record<string, OpenApiSchema>): Record<string, JsonSchema> {
  const reachable: Record<string, JsonSchema> = {}
  const pending = [name]
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const definition = definitions[next]
    if (definition === undefined) throw new TypeError(`the OpenAPI document does not define ${next}`)
    // Kubernetes also accepts numbers as quantities, although the document says string.
    reachable[next] =
      next === QUANTITY
        ? { type: ['string', 'number'] }
        : strict(definition, (referenced) => {
            if (!(referenced in reachable)) pending.push(referenced)
          })
  }
  return reachable
}

function strict(schema: OpenApiSchema, onReference: (name: string) => void): JsonSchema {
  if (schema.$ref !== undefined) {
    onReference(schema.$ref.slice(REFERENCE_PREFIX.length))
    return { $ref: schema.$ref }
  }
  if (schema.format === 'int-or-string') return { type: ['string', 'integer'] }
  const { description: _, properties, items, additionalProperties, ...rest } = schema
  const converted: JsonSchema = rest
  if (items !== undefined) converted['items'] = strict(items, onReference)
  // An object without declared properties is a free-form map.
  if (additionalProperties !== undefined) {
    converted['additionalProperties'] = strict(additionalProperties, onReference)
  } else if (properties !== undefined && rest['x-kubernetes-preserve-unknown-fields'] !== true) {
    converted['additionalProperties'] = false
  }
  if (properties !== undefined) {
    converted['properties'] = Object.fromEntries(
      Object.entries(properties).map(([name, property]) => [name, strict(property, onReference)]),
    )
  }
  return converted
}

/**
 * Writes the schemas of Kubernetes' own kinds below `directory`, unless an earlier call has.
 *
 * @param openApiFile - `api/openapi-spec/swagger.json` of the Kubernetes version to check against
 * @returns the directory of the schema files, whose name changes with the document and this conversion
 * @throws ActionableError when the file is missing or not an OpenAPI 2 document
 */
export function storeKubernetesSchemas(openApiFile: string, directory: string): string {
  const document = readOpenApi(openApiFile)
  return store([document], directory, () => {
    const { definitions } = JSON.parse(document) as { definitions?: Record<string, OpenApiSchema> }
    if (definitions === undefined) {
      throw new ActionableError(
        `${openApiFile} is not an OpenAPI 2 document: it has no definitions`,
        'pass the api/openapi-spec/swagger.json of a Kubernetes source tree',
      )
    }
    return kubernetesSchemas(definitions)
  })
}

/**
 * Writes the schemas of custom kinds below `directory`, unless an earlier call has.
 *
 * @param files - YAML files with a CustomResourceDefinition each
 * @returns the directory of the schema files, whose name changes with the definitions and this conversion
 */
export function storeCustomResourceSchemas(files: readonly string[], directory: string): string {
  const documents = files.map((file) => readFileSync(file, 'utf8'))
  return store(
    documents,
    directory,
    () => new Map(documents.flatMap((document) => [...customResourceSchemas(parse(document))])),
  )
}

function store(
  documents: readonly string[],
  directory: string,
  convert: () => Map<string, JsonSchema>,
): string {
  const pin = createHash('sha256')
    .update(JSON.stringify(documents))
    .update(readFileSync(import.meta.filename))
    .digest('hex')
  const stored = join(directory, pin.slice(0, 12))
  if (existsSync(stored)) return stored

  const schemas = convert()
  mkdirSync(directory, { recursive: true })
  const unfinished = mkdtempSync(join(directory, 'unfinished-'))
  for (const [file, schema] of schemas) writeFileSync(join(unfinished, file), JSON.stringify(schema))
  renameSync(unfinished, stored)
  return stored
}

function readOpenApi(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new ActionableError(
      `Kubernetes' OpenAPI document cannot be read: ${(error as Error).message}`,
      'pass the api/openapi-spec/swagger.json of a Kubernetes source tree',
      { cause: error },
    )
  }
}
