import {
  AjvCompiler,
  type BuildCompilerFromPool,
  type Options,
  type RouteDefinition,
} from '@fastify/ajv-compiler'

type Compile = ReturnType<BuildCompilerFromPool>
type Fields = { properties: Record<string, { type?: string }> }
type Validate = { (data: Record<string, unknown>): boolean; errors?: unknown }

/** Ajv reads any number of JavaScript's, "1e3", "0x10" and "+1.0" included; in a URL there is one way to write one. */
const INTEGER = /^(0|-?[1-9]\d*)$/

const compilers = AjvCompiler()

/**
 * How requests are held against the schemas of their route. Texts of a URL and of headers become the numbers they
 * stand for; JSON has types of its own and means them.
 */
export const buildValidator: BuildCompilerFromPool = (schemas, options) => {
  const lenient = compilers(schemas, options)
  const exact = compilers(schemas, {
    ...options,
    customOptions: { ...options?.customOptions, coerceTypes: false } as Options,
  } as Parameters<BuildCompilerFromPool>[1])
  // The declared type knows schemas only; what Fastify passes is the part of a route that has one.
  const compile = (route: RouteDefinition & Parameters<Compile>[0]) =>
    route.httpPart === 'body'
      ? exact(route)
      : withIntegers(route.schema as Fields, lenient(route) as Validate)
  return compile as unknown as Compile
}

function withIntegers(schema: Fields, validate: Validate): Validate {
  const integers = Object.keys(schema.properties).filter(
    (name) => schema.properties[name]?.type === 'integer',
  )
  const checked: Validate = (data) => {
    for (const name of integers) {
      const text = data[name]
      if (typeof text === 'string' && !INTEGER.test(text)) data[name] = Number.NaN
    }
    const valid = validate(data)
    checked.errors = validate.errors
    return valid
  }
  return checked
}
