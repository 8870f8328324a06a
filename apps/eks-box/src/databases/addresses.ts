import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import type { BoxConfig } from 'shared/box'
import { boxPaths } from '../state-directory.ts'

/** Hosts file with the names of the database and the cache, which the VPC's resolver serves. */
export function databaseHosts(config: BoxConfig): string {
  return join(boxPaths(config).run, 'databases.hosts')
}

/** The servers, with the place of their address in the subnet. */
const places = { database: 2, cache: 3 } as const

export type Server = keyof typeof places

/**
 * The address of a server in its subnet: below the middle, because instances have addresses from the beginning of the
 * subnet, and pods from its middle.
 *
 * @param subnet IPv4 block.
 */
export function serverAddress(server: Server, subnet: string): string {
  const [first = '', prefix = ''] = subnet.split('/')
  const start = first.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
  const address = start + 2 ** (32 - Number(prefix)) / 2 - places[server]
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.')
}

interface Entry {
  address: string
  names: readonly string[]
}

/** Gives the database and the cache their addresses on the loopback interface of the box, and their names. */
export class ServerAddresses {
  readonly #hosts: string
  readonly #entries = new Map<Server, Entry>()

  /** @param hosts path of the hosts file. */
  constructor(hosts: string) {
    this.#hosts = hosts
  }

  /** Sets the address of a server; without one, the server has none. */
  async set(server: Server, entry: Entry | undefined): Promise<void> {
    const former = this.#entries.get(server)?.address
    if (former !== undefined && former !== entry?.address) {
      await execa('ip', ['address', 'delete', `${former}/32`, 'dev', 'lo'], { reject: false })
    }
    if (entry === undefined) this.#entries.delete(server)
    else {
      await execa('ip', ['address', 'replace', `${entry.address}/32`, 'dev', 'lo'])
      this.#entries.set(server, entry)
    }
    const text = [...this.#entries.values()]
      .map(({ address, names }) => `${address} ${names.join(' ')}\n`)
      .join('')
    await writeFile(`${this.#hosts}.new`, text)
    await rename(`${this.#hosts}.new`, this.#hosts)
  }
}
