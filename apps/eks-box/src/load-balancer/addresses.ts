import { existsSync, readFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { boxPaths } from '../state-directory.ts'

/**
 * First three octets of the load balancers' addresses. They are the upper end of the first public subnet; the emulator
 * gives instances the lower addresses of a subnet.
 */
const network = '10.0.3'

/** Hosts file with the DNS names of the load balancers, which the VPC's resolver serves. It does not survive a restart of the box. */
export function loadBalancerHosts(config: BoxConfig): string {
  return join(boxPaths(config).run, 'load-balancers.hosts')
}

/** The address inside the box of the load balancer with this DNS name; undefined if there is none. */
export function loadBalancerAddress(config: BoxConfig, dnsName: string): string | undefined {
  return readHosts(loadBalancerHosts(config)).get(dnsName.toLowerCase())
}

/** The address inside the box of the load balancer of an Ingress; undefined if there is none. */
export function ingressAddress(config: BoxConfig, namespace: string, name: string): string | undefined {
  // The load balancer controller names a load balancer after the Ingress: 8 letters and digits of each name, and a hash.
  const [first, second] = [namespace, name].map((part) => part.replaceAll(/[^a-z0-9]/g, '').slice(0, 8))
  const prefix = `k8s-${first}-${second}-`
  return [...readHosts(loadBalancerHosts(config))].find(([dnsName]) => dnsName.startsWith(prefix))?.[1]
}

function readHosts(file: string): Map<string, string> {
  if (!existsSync(file)) return new Map()
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean)
  return new Map(
    lines.map((line) => {
      const [address = '', name = ''] = line.split(' ')
      return [name, address] as const
    }),
  )
}

/** Gives each load balancer an address on the loopback interface of the box, and keeps it for the life of both. */
export class Addresses {
  readonly #hosts: string
  readonly #addresses: Map<string, string>

  /** @param hosts path of the hosts file. */
  constructor(hosts: string) {
    this.#hosts = hosts
    this.#addresses = readHosts(hosts)
  }

  /** Adds an address for each DNS name that has none. */
  async add(dnsNames: readonly string[]): Promise<void> {
    for (const name of dnsNames.map((dnsName) => dnsName.toLowerCase())) {
      const address = this.#addresses.get(name) ?? this.#free()
      this.#addresses.set(name, address)
      await execa('ip', ['address', 'replace', `${address}/32`, 'dev', 'lo'])
    }
    await this.#write()
  }

  /** Removes the addresses of all other DNS names. Call it when nothing listens on them any more. */
  async retain(dnsNames: readonly string[]): Promise<void> {
    const kept = new Set(dnsNames.map((dnsName) => dnsName.toLowerCase()))
    for (const [name, address] of this.#addresses) {
      if (kept.has(name)) continue
      this.#addresses.delete(name)
      await execa('ip', ['address', 'delete', `${address}/32`, 'dev', 'lo'], { reject: false })
    }
    await this.#write()
  }

  /** @throws Error unless the name has an address. */
  of(dnsName: string): string {
    const address = this.#addresses.get(dnsName.toLowerCase())
    if (address === undefined) throw new Error(`${dnsName} has no address`)
    return address
  }

  #free(): string {
    const taken = new Set(this.#addresses.values())
    for (let host = 1; host < 255; host++) {
      const address = `${network}.${host}`
      if (!taken.has(address)) return address
    }
    throw new Error('all 254 addresses of load balancers are in use')
  }

  async #write(): Promise<void> {
    const text = [...this.#addresses].map(([name, address]) => `${address} ${name}\n`).join('')
    await writeFile(`${this.#hosts}.new`, text)
    await rename(`${this.#hosts}.new`, this.#hosts)
  }
}
