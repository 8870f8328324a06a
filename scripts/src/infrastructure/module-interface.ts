/** A module's inputs, with their types in HCL, and its outputs. */
export interface ModuleInterface {
  module: string
  version: string
  inputs: Record<string, string>
  outputs: string[]
}

/** A parsed Terraform type constraint. */
export type Constraint =
  | { kind: 'primitive'; name: string }
  | { kind: 'collection'; name: string; of: Constraint }
  | { kind: 'object'; attributes: Record<string, { type: Constraint; optional: boolean }> }

/**
 * Parses a type constraint such as `map(object({ name = optional(string, "a") }))`. It ignores defaults, in which a
 * stand-in may differ.
 *
 * @throws SyntaxError when the text is not a type constraint.
 */
export function parseConstraint(text: string): Constraint {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[\w.-]+|[(){}[\]=,]/g) ?? []
  let at = 0
  const peek = () => tokens[at]
  const take = (expected?: string): string => {
    const token = tokens[at++]
    if (token === undefined || (expected !== undefined && token !== expected)) {
      throw new SyntaxError(`expected ${expected ?? 'more'} but found ${token ?? 'the end'} in ${text}`)
    }
    return token
  }
  /** Skips a default value, up to the parenthesis that closes `optional`. */
  const skipDefault = () => {
    let depth = 0
    while (depth > 0 || peek() !== ')') {
      const token = take()
      if ('([{'.includes(token)) depth++
      else if (')]}'.includes(token)) depth--
    }
  }
  const constraint = (): Constraint => {
    const name = take()
    if (peek() !== '(') return { kind: 'primitive', name }
    take('(')
    if (name !== 'object') {
      const of = constraint()
      take(')')
      return { kind: 'collection', name, of }
    }
    take('{')
    const attributes: Record<string, { type: Constraint; optional: boolean }> = {}
    while (peek() !== '}') {
      const attribute = take()
      take('=')
      const optional = peek() === 'optional'
      if (optional) {
        take('optional')
        take('(')
      }
      const type = constraint()
      if (optional) {
        if (peek() === ',') {
          take(',')
          skipDefault()
        }
        take(')')
      }
      attributes[attribute] = { type, optional }
      if (peek() === ',') take(',')
    }
    take('}')
    take(')')
    return { kind: 'object', attributes }
  }
  const parsed = constraint()
  if (at < tokens.length) throw new SyntaxError(`${tokens.slice(at).join(' ')} is left over in ${text}`)
  return parsed
}

/** How a stand-in's type differs from the real module's. Objects may lack attributes, but may not add any. */
export function differences(standIn: Constraint, real: Constraint, path: string): string[] {
  if (real.kind === 'primitive' && real.name === 'any') return []
  if (standIn.kind !== real.kind) return [`${path}: ${standIn.kind}, not ${real.kind}`]
  if (standIn.kind === 'object' && real.kind === 'object') {
    return Object.entries(standIn.attributes).flatMap(([name, attribute]) => {
      const counterpart = real.attributes[name]
      if (counterpart === undefined) return [`${path}.${name}: the module has no such attribute`]
      if (counterpart.optional !== attribute.optional) {
        return [`${path}.${name}: ${counterpart.optional ? 'optional' : 'required'} in the module`]
      }
      return differences(attribute.type, counterpart.type, `${path}.${name}`)
    })
  }
  if (standIn.kind === 'collection' && real.kind === 'collection') {
    if (standIn.name !== real.name) return [`${path}: ${standIn.name}, not ${real.name}`]
    return differences(standIn.of, real.of, `${path}[]`)
  }
  if (standIn.kind === 'primitive' && real.kind === 'primitive' && standIn.name !== real.name) {
    return [`${path}: ${standIn.name}, not ${real.name}`]
  }
  return []
}
