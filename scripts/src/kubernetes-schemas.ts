import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ActionableError } from 'eks-box/errors'

/** A schema of Kubernetes' OpenAPI 2 document, as far as the conversion looks into it. */
interface OpenApiSchema {
  $ref?: string
  description?: string
  format?: string
  properties?: Record<string, OpenApiSchema>
  items?: OpenApiSchema
  additionalProperties?: OpenApiSchema
  'x-kubernetes-group-version-kind'?: { group: string; version: string; kind: string }[]
  [keyword: string]: unknown
}

type JsonSchema = Record<string, unknown>

const REFERENCE_PREFIX = '#/definitions/'
const QUANTITY = 'io.k8s.apimachinery.pkg.api.resource.Quantity'

/**
 * Converts the definitions of Kubernetes' OpenAPI 2 document (`swagger.json`) to JSON Schemas that refuse
 * every field Kubernetes does not know.
 *
 * @returns one self-contained schema for each kind, by the file name kubeconform looks for:
 *   `<kind>-<first label of the group>-<version>.json`, the core group having no label
 */
export function kubernetesSchemas(definitions: Record<string, OpenApiSchema>): Map<string, JsonSchema> {
  const schemas = new Map<string, JsonSchema>()
  for (const [name, definition] of Object.entries(definitions)) {
    const [kind, ...others] = definition['x-kubernetes-group-version-kind'] ?? []
    // Only what the API itself exchanges, such as DeleteOptions, belongs to several groups at once.
    if (kind === undefined || others.length > 0) continue
    const group = kind.group === '' ? [] : [kind.group.split('.')[0]]
    const file = `${[kind.kind, ...group, kind.version].join('-').toLowerCase()}.json`
    schemas.set(file, {
      $schema: 'http://json-schema.org/draft-07/schema#',
      $ref: REFERENCE_PREFIX + name,
      definitions: reachableFrom(name, definitions),
    })
  }
  return schemas
}

/** The converted definition `name` and all it refers to. References stay, as some definitions contain themselves. */
function reachableFrom(name: string, definitions: Record<string, OpenApiSchema>): Record<string, JsonSchema> {
  const reachable: Record<string, JsonSchema> = {}
  const pending = [name]
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const definition = definitions[next]
    if (definition === undefined) throw new TypeError(`the OpenAPI document does not define ${next}`)
    // A quantity may be written as a number, although the document only says string.
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
  // An object that declares no properties is a free-form map, or anything at all.
  if (additionalProperties !== undefined) {
    converted['additionalProperties'] = strict(additionalProperties, onReference)
  } else if (properties !== undefined) {
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
 * Writes the schemas of an OpenAPI document below `directory`, unless they are there from an earlier call.
 *
 * @param openApiFile - `api/openapi-spec/swagger.json` of the Kubernetes version to check against
 * @returns the directory of the schema files; its name changes with the document and with this conversion
 * @throws ActionableError when the file is missing or no OpenAPI 2 document
 */
export function storeKubernetesSchemas(openApiFile: string, directory: string): string {
  const document = readOpenApi(openApiFile)
  const pin = createHash('sha256')
    .update(document)
    .update(readFileSync(import.meta.filename))
    .digest('hex')
  const stored = join(directory, pin.slice(0, 12))
  if (existsSync(stored)) return stored

  const { definitions } = JSON.parse(document) as { definitions?: Record<string, OpenApiSchema> }
  if (definitions === undefined) {
    throw new ActionableError(
      `${openApiFile} is not an OpenAPI 2 document: it has no definitions`,
      'Pass the api/openapi-spec/swagger.json of a Kubernetes source tree.',
    )
  }
  mkdirSync(directory, { recursive: true })
  const unfinished = mkdtempSync(join(directory, 'unfinished-'))
  for (const [file, schema] of kubernetesSchemas(definitions)) {
    writeFileSync(join(unfinished, file), JSON.stringify(schema))
  }
  renameSync(unfinished, stored)
  return stored
}

function readOpenApi(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new ActionableError(
      `Kubernetes' OpenAPI document cannot be read: ${(error as Error).message}`,
      'Pass the api/openapi-spec/swagger.json of a Kubernetes source tree.',
      { cause: error },
    )
  }
}
