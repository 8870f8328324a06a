/** The pods' addresses of a node. */
export interface NodeAddresses {
  /** The node's own address. */
  address: string
  /** The IPv4 block of its pods. */
  podSubnet: string
}

/** Bits of a prefix that EC2 delegates to a network interface. */
const prefixLength = 28

/**
 * Adds the pods' addresses to the network interfaces of nodes, as prefixes, in a response of DescribeInstances or
 * DescribeNetworkInterfaces. On EKS, the VPC CNI plugin assigns them; the load balancer controller looks there for the
 * network interface of a pod. The emulator has no prefixes.
 */
export function addPodPrefixes(xml: string, nodes: readonly NodeAddresses[]): string {
  const subnets = new Map(nodes.map(({ address, podSubnet }) => [address, podSubnet]))
  return xml.replace(
    /<privateIpAddress>([\d.]+)<\/privateIpAddress>(?=<privateIpAddressesSet>)/g,
    (element, address: string) => {
      const subnet = subnets.get(address)
      if (subnet === undefined) return element
      const prefixes = prefixesOf(subnet).map((prefix) => `<item><ipv4Prefix>${prefix}</ipv4Prefix></item>`)
      return `${element}<ipv4PrefixSet>${prefixes.join('')}</ipv4PrefixSet>`
    },
  )
}

/** The prefixes that cover a block. */
export function prefixesOf(subnet: string): string[] {
  const [address = '', bits = ''] = subnet.split('/')
  const start = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
  return Array.from({ length: 2 ** (prefixLength - Number(bits)) }, (_, index) => {
    const prefix = start + index * 2 ** (32 - prefixLength)
    return `${[24, 16, 8, 0].map((shift) => Math.floor(prefix / 2 ** shift) % 256).join('.')}/${prefixLength}`
  })
}
