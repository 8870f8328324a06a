import { AjvCompiler, type BuildCompilerFromPool } from '@fastify/ajv-compiler'
import serializerSelector, { type SerializerFactory } from '@fastify/fast-json-stringify-compiler'

type Compile = ReturnType<BuildCompilerFromPool>
type Validate = ReturnType<Compile>
type AjvOptions = Extract<Parameters<BuildCompilerFromPool>[1], { mode?: never }>

/** What Fastify passes to a validator compiler; the declared type is only the schema. */
interface RoutePart {
  httpPart: string
  schema: { properties: Record<string, { type?: string }> }
}

/** Integers in a URL have one spelling. Ajv would also accept "1e3", "0x10" and "+1.0". */
const INTEGER = /^(0|-?[1-9]\d*)$/

const compilers = AjvCompiler()

/**
 * Validates requests against the schemas of their route. Numbers in a URL or a header are converted from text; a JSON
 * body is not converted. Each schema is compiled for the first request that needs it, because compiling all of them
 * would take a fifth of the start.
 */
export const buildValidator: BuildCompilerFromPool = (schemas, options) => {
  const { customOptions, ...more } = options as AjvOptions
  const forBody = { ...more, customOptions: { ...customOptions, coerceTypes: false } }
  return (definition) => {
    const { httpPart, schema }: RoutePart = Object(definition)
    const isBody = httpPart === 'body'
    const integers = isBody ? [] : integerNames(schema)
    let validate: Validate | undefined
    const check = (data: Record<string, unknown>) => {
      validate ??= compilers(schemas, isBody ? forBody : options)(definition)
      for (const name of integers) {
        const text = data[name]
        if (typeof text === 'string' && !INTEGER.test(text)) data[name] = Number.NaN
      }
      const valid = validate(data)
      check.errors = validate.errors
      return valid
    }
    check.errors = undefined as Validate['errors']
    // Fastify calls it and reads `errors`; nothing else of Ajv's interface is used.
    return check as Validate
  }
}

function integerNames({ properties }: RoutePart['schema']): string[] {
  return Object.entries(properties)
    .filter(([, { type }]) => type === 'integer')
    .map(([name]) => name)
}

/**
 * Serialises answers by the schemas of their route. Each schema is compiled for the first answer that needs it. Most
 * are never needed: every route declares several problems, which `sendProblem` serialises itself.
 */
export const buildSerializer: SerializerFactory = (schemas, options) => {
  const compile = serializerSelector()(schemas, options)
  return (definition) => {
    let serialize: ReturnType<typeof compile> | undefined
    return (answer) => {
      serialize ??= compile(definition)
      return serialize(answer)
    }
  }
}
