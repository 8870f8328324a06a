import { parse } from 'yaml'

/** The settings of nodeadm's NodeConfig (node.eks.aws/v1alpha1) that the box's nodes apply. */
export interface NodeConfig {
  maxPods?: number
  labels: Record<string, string>
  /** As `key=value:effect`. */
  taints: string[]
}

interface NodeConfigDocument {
  kind?: string
  spec?: {
    kubelet?: { config?: { maxPods?: number; registerWithTaints?: Taint[] }; flags?: string[] }
  }
}

interface Taint {
  key: string
  value?: string
  effect: string
}

/**
 * Reads an instance's user data: a NodeConfig, or a multi-part document that contains several. As in nodeadm, a later
 * one overrides an earlier one.
 *
 * @throws TypeError when a part that claims to be a NodeConfig is not one.
 */
export function parseUserData(text: string): NodeConfig {
  const config: NodeConfig = { labels: {}, taints: [] }
  for (const part of parts(text)) {
    const document = parse(part) as NodeConfigDocument | null
    if (document?.kind !== 'NodeConfig')
      throw new TypeError('the user data has no NodeConfig where it should')
    const { kubelet } = document.spec ?? {}
    const { maxPods, registerWithTaints } = kubelet?.config ?? {}
    if (maxPods !== undefined) config.maxPods = maxPods
    if (registerWithTaints !== undefined) {
      config.taints = registerWithTaints.map(({ key, value = '', effect }) => `${key}=${value}:${effect}`)
    }
    for (const flag of kubelet?.flags ?? []) {
      // nodeadm passes the flags through systemd, which removes quotes.
      const [name, value = ''] = splitOnce(flag.replaceAll('"', ''), '=')
      if (name === '--node-labels') Object.assign(config.labels, pairs(value))
      if (name === '--register-with-taints') config.taints = value.split(',').filter(Boolean)
      if (name === '--max-pods') config.maxPods = Number(value)
    }
  }
  return config
}

/** The NodeConfig documents of a user data, in their order. Parts of other types, such as scripts, are left out. */
function parts(text: string): string[] {
  const boundary = /^Content-Type:\s*multipart\/\S+;\s*boundary="?([^"\r\n]+)"?/im.exec(text)?.[1]
  if (boundary === undefined) return /^kind:\s*NodeConfig\s*$/m.test(text) ? [text] : []
  return text
    .replaceAll('\r\n', '\n')
    .split(`\n--${boundary}`)
    .slice(1)
    .map((part) => splitOnce(part.trimStart(), '\n\n'))
    .filter(([headers]) => /^Content-Type:\s*application\/node\.eks\.aws/im.test(headers))
    .map(([, body = '']) => body)
}

function pairs(text: string): Record<string, string> {
  return Object.fromEntries(
    text
      .split(',')
      .filter(Boolean)
      .map((pair) => {
        const [key, value = ''] = splitOnce(pair, '=')
        return [key, value]
      }),
  )
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator)
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + separator.length)]
}
