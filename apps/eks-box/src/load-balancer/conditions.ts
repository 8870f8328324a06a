import type { RuleCondition } from '@aws-sdk/client-elastic-load-balancing-v2'

/**
 * The HAProxy conditions of a rule's conditions, each in braces. A request matches if it matches all of them, and any
 * of the values of each.
 */
export function conditionsOf(conditions: readonly RuleCondition[]): string[] {
  return conditions.map((condition) => `{ ${criterion(condition)} }`)
}

/** A condition that is not supported matches no request, rather than every request. */
const never = 'always_false'

// The emulator does not validate these values, and other characters would change the configuration's meaning.
const isToken = (value: string) => /^[A-Za-z0-9_.-]+$/.test(value)
const isNetwork = (value: string) => /^[0-9A-Fa-f.:]+(\/\d+)?$/.test(value)

function criterion(condition: RuleCondition): string {
  const { Field, Values = [] } = condition
  switch (Field) {
    case 'host-header':
      return matches('req.hdr(host),field(1,:)', 'i', condition.HostHeaderConfig?.Values ?? Values)
    case 'path-pattern':
      return matches('path', '', condition.PathPatternConfig?.Values ?? Values)
    case 'http-header': {
      const { HttpHeaderName = '', Values: values = [] } = condition.HttpHeaderConfig ?? {}
      return isToken(HttpHeaderName) ? matches(`req.fhdr(${HttpHeaderName})`, 'i', values) : never
    }
    case 'http-request-method':
      return anyOf('method -m str', condition.HttpRequestMethodConfig?.Values?.filter(isToken) ?? [])
    case 'query-string': {
      const pairs = condition.QueryStringConfig?.Values ?? []
      return anyOf(
        'query -m reg -i',
        pairs.map(({ Key, Value = '' }) => {
          const key = Key === undefined ? '([^&=]*=)?' : `${wildcards(Key, '[^&=]')}=`
          return `'(^|&)${key}${wildcards(Value, '[^&]')}(&|$)'`
        }),
      )
    }
    case 'source-ip':
      return anyOf('src', condition.SourceIpConfig?.Values?.filter(isNetwork) ?? [])
    default:
      return never
  }
}

function anyOf(test: string, values: readonly string[]): string {
  return values.length === 0 ? never : `${test} ${values.join(' ')}`
}

function matches(sample: string, flags: 'i' | '', patterns: readonly string[]): string {
  return anyOf(
    `${sample} -m reg${flags === 'i' ? ' -i' : ''}`,
    patterns.map((pattern) => `'^${wildcards(pattern, '.')}$'`),
  )
}

/**
 * A pattern with `*` and `?` as a regular expression, in which `any` matches one character. Everything that could have
 * a meaning in a regular expression or in HAProxy's quoting is written as a byte.
 */
function wildcards(pattern: string, any: string): string {
  return pattern.replaceAll(/[^A-Za-z0-9/_-]/gu, (character) => {
    if (character === '*') return `${any}*`
    if (character === '?') return any
    return [...Buffer.from(character)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
  })
}
