import { writeFile } from 'node:fs/promises'
import { execa } from 'execa'
import { AGENT_ADDRESS, CONTROL_PLANE_IP, PORTS, RESOLVER_IP } from '../cluster.ts'
import type { NodeSpec } from './spec.ts'

/** The default gateway of every node: a link-local address, so that no two nodes need to share a network segment. */
const GATEWAY = '169.254.1.1'

/** The name of a node's network interface in the box's namespace; the kernel allows 15 characters. */
function interfaceOf(node: Pick<NodeSpec, 'instanceId'>): string {
  return `eni-${node.instanceId.slice(-11)}`
}

/** Makes the box's network namespace the router of its VPC, with the control plane's own addresses. */
export async function prepareRouter(): Promise<void> {
  // Pods send packets for the agent's link-local address along their default route.
  for (const address of [CONTROL_PLANE_IP, RESOLVER_IP, GATEWAY, AGENT_ADDRESS]) {
    await execa('ip', ['address', 'add', `${address}/32`, 'dev', 'lo'])
  }
  await writeFile('/proc/sys/net/ipv4/ip_forward', '1')
}

/**
 * Connects the network namespace of process `pid` to the router, and routes the addresses of the node and its pods to
 * it. The kernel removes interface and routes together with the namespace.
 */
export async function attachNode(node: NodeSpec, pid: number): Promise<void> {
  const device = interfaceOf(node)
  // If the component `nodes` was killed, the rule and perhaps the interface of the node's previous run are still there.
  await detachNode(node)
  await execa('ip', ['link', 'delete', device], { reject: false })
  await execa('ip', ['link', 'add', device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid)])
  await execa('ip', ['link', 'set', device, 'up'])
  await execa('ip', ['route', 'add', `${node.address}/32`, 'dev', device])
  await execa('ip', ['route', 'add', node.podSubnet, 'via', node.address, 'dev', device, 'onlink'])
  await execa('iptables', ['-w', '-I', ...registryRule(node)])
}

/** Only the container runtime may use the registry, because it accepts every image. */
function registryRule(node: NodeSpec): string[] {
  return [
    ...['INPUT', '--in-interface', interfaceOf(node), '--source', node.podSubnet],
    ...['--protocol', 'tcp', '--dport', String(PORTS.registry), '--jump', 'REJECT'],
  ]
}

/** Removes the packet rule of a node, if there is one: the kernel keeps it when the node's interface is gone. */
export async function detachNode(node: NodeSpec): Promise<void> {
  await execa('iptables', ['-w', '-D', ...registryRule(node)], { reject: false })
}

/** Configures the node's side of the connection; runs in the node's network namespace. */
export async function connectToRouter(node: NodeSpec): Promise<void> {
  await execa('ip', ['address', 'add', `${node.address}/32`, 'dev', 'eth0'])
  await execa('ip', ['link', 'set', 'eth0', 'up'])
  await execa('ip', ['route', 'add', `${GATEWAY}/32`, 'dev', 'eth0', 'scope', 'link'])
  await execa('ip', ['route', 'add', 'default', 'via', GATEWAY, 'dev', 'eth0', 'src', node.address])
  await writeFile('/proc/sys/net/ipv4/ip_forward', '1')
}
