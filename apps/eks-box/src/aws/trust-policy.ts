/** A request to assume a role, as far as a trust policy can refer to it. */
export interface AssumeRequest {
  /** The kind of principal, and all names by which a policy can mean it. */
  principal: { type: 'AWS' | 'Federated' | 'Service'; names: readonly string[] }
  /** The required permissions, such as sts:AssumeRole. */
  actions: readonly string[]
  /** The condition keys of the request, in any case, with their values. */
  context: Readonly<Record<string, string | readonly string[]>>
}

interface Statement {
  Effect?: unknown
  Principal?: unknown
  NotPrincipal?: unknown
  Action?: unknown
  NotAction?: unknown
  Condition?: unknown
}

/** Whether a condition operator holds; undefined when it is not supported. */
type Evaluation = boolean | undefined

/**
 * Evaluates a role's trust policy (IAM user guide, "Policy evaluation logic" and "Condition operators"). Supports the
 * operators for strings and ARNs, and Null. A statement with anything else denies if it can deny, and never allows.
 *
 * @param document the policy's JSON.
 */
export function trusts(document: string, { principal, actions, context }: AssumeRequest): boolean {
  const { Statement = [] } = JSON.parse(document) as { Statement?: Statement | Statement[] }
  const values = new Map(
    Object.entries(context).map(([key, value]) => [key.toLowerCase(), [value].flat() as string[]]),
  )
  return actions.every((action) => {
    let allowed = false
    for (const statement of [Statement].flat()) {
      const applies = all([
        matchesPrincipal(statement, principal),
        matchesAction(statement, action),
        matchesCondition(statement.Condition, values),
      ])
      if (statement.Effect !== 'Allow' && applies !== false) return false
      if (statement.Effect === 'Allow' && applies === true) allowed = true
    }
    return allowed
  })
}

function matchesPrincipal(
  { Principal, NotPrincipal }: Statement,
  { type, names }: AssumeRequest['principal'],
): Evaluation {
  if (NotPrincipal !== undefined) return undefined
  if (Principal === '*') return true
  const listed = strings(record(Principal)[type])
  return listed.includes('*') || names.some((name) => listed.includes(name))
}

function matchesAction({ Action, NotAction }: Statement, action: string): Evaluation {
  if (NotAction !== undefined) return undefined
  return strings(Action).some((pattern) => like(action.toLowerCase(), pattern.toLowerCase()))
}

function matchesCondition(condition: unknown, context: ReadonlyMap<string, readonly string[]>): Evaluation {
  return all(
    Object.entries(record(condition)).flatMap(([operator, keys]) =>
      Object.entries(record(keys)).map(([key, expected]) =>
        evaluate(operator, strings(expected), context.get(key.toLowerCase())),
      ),
    ),
  )
}

const comparisons: Readonly<Record<string, (value: string, pattern: string) => boolean>> = {
  StringEquals: (value, pattern) => value === pattern,
  StringEqualsIgnoreCase: (value, pattern) => value.toLowerCase() === pattern.toLowerCase(),
  StringLike: like,
  ArnEquals: like,
  ArnLike: like,
}

function evaluate(
  operator: string,
  patterns: readonly string[],
  values: readonly string[] | undefined,
): Evaluation {
  // Policy variables such as ${aws:username}.
  if (patterns.some((pattern) => pattern.includes('${'))) return undefined
  if (operator === 'Null') return patterns.some((pattern) => (pattern === 'true') === (values === undefined))
  const [, set = '', kind = '', not = '', comparison = '', ifExists = ''] =
    /^(?:(ForAnyValue|ForAllValues):)?(String|Arn)(Not)?(\w+?)(IfExists)?$/.exec(operator) ?? []
  const compare = comparisons[`${kind}${comparison}`]
  if (compare === undefined) return undefined
  if (values === undefined) return ifExists !== '' || set === 'ForAllValues' || (not !== '' && set === '')
  const holds = (value: string) => patterns.some((pattern) => compare(value, pattern)) === (not === '')
  // Without a set operator, a negated comparison must hold for every value.
  return set === 'ForAllValues' || (not !== '' && set === '') ? values.every(holds) : values.some(holds)
}

/** Matches `*` and `?`. */
function like(value: string, pattern: string): boolean {
  const expression = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${expression}$`, 's').test(value)
}

/** False if any part is false, otherwise undefined if any part is not supported. */
function all(parts: readonly Evaluation[]): Evaluation {
  if (parts.includes(false)) return false
  return parts.includes(undefined) ? undefined : true
}

function strings(value: unknown): string[] {
  return value === undefined ? [] : [value].flat().map(String)
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}
