/** Pods of one node, as a power of two: more addresses than EKS's limit of 250 pods on a node. */
const blockBits = 8

/**
 * Chooses the block of pod addresses for a node. Instances have addresses from the beginning of their subnet, so pods
 * have blocks of its second half.
 *
 * @param subnet IPv4 block of the node's subnet.
 * @param used blocks of other nodes.
 * @throws RangeError when every block is in use.
 */
export function freePodSubnet(subnet: string, used: ReadonlySet<string>): string {
  const [address = '', prefix = ''] = subnet.split('/')
  const size = 2 ** (32 - Number(prefix))
  const start = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
  for (let block = start + size / 2; block < start + size; block += 2 ** blockBits) {
    const cidr = `${[24, 16, 8, 0].map((shift) => Math.floor(block / 2 ** shift) % 256).join('.')}/${32 - blockBits}`
    if (!used.has(cidr)) return cidr
  }
  throw new RangeError(`subnet ${subnet} has no free block of addresses for the pods of another node`)
}
