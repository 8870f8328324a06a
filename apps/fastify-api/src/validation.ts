import { AjvCompiler, type BuildCompilerFromPool } from '@fastify/ajv-compiler'

type Compile = ReturnType<BuildCompilerFromPool>
type Validate = ReturnType<Compile>
type AjvOptions = Extract<Parameters<BuildCompilerFromPool>[1], { mode?: never }>

/** The part of a route that has one schema. The declared type is that of the schema alone; Fastify passes this. */
interface RoutePart {
  httpPart: string
  schema: { properties: Record<string, { type?: string }> }
}

/** Ajv reads any number of JavaScript's, "1e3", "0x10" and "+1.0" included; in a URL there is one way to write one. */
const INTEGER = /^(0|-?[1-9]\d*)$/

const compilers = AjvCompiler()

/**
 * Validates requests against the schemas of their route. Texts in a URL or a header become the numbers they stand
 * for; JSON has types of its own, so a body is taken as it is.
 */
export const buildValidator: BuildCompilerFromPool = (schemas, options) => {
  const { customOptions, ...more } = options as AjvOptions
  const lenient = compilers(schemas, options)
  const exact = compilers(schemas, { ...more, customOptions: { ...customOptions, coerceTypes: false } })
  const compile: Compile = (definition) => {
    const { httpPart, schema }: RoutePart = Object(definition)
    return httpPart === 'body'
      ? exact(definition)
      : withIntegers(Object.entries(schema.properties), lenient(definition))
  }
  return compile
}

function withIntegers(properties: [name: string, schema: { type?: string }][], validate: Validate): Validate {
  const integers = properties.filter(([, { type }]) => type === 'integer').map(([name]) => name)
  const checked = (data: Record<string, unknown>) => {
    for (const name of integers) {
      const text = data[name]
      if (typeof text === 'string' && !INTEGER.test(text)) data[name] = Number.NaN
    }
    const valid = validate(data)
    Object.assign(result, { errors: validate.errors })
    return valid
  }
  const result = Object.assign(checked, validate)
  return result
}
