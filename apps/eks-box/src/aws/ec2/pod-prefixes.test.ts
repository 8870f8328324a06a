import t from 'tap'
import { addPodPrefixes, prefixesOf } from './pod-prefixes.ts'

t.test('a block of 256 addresses is sixteen delegated prefixes', async (t) => {
  const prefixes = prefixesOf('10.0.48.0/24')
  t.equal(prefixes.length, 16)
  t.strictSame([prefixes[0], prefixes[1], prefixes[15]], ['10.0.48.0/28', '10.0.48.16/28', '10.0.48.240/28'])
})

t.test("only a node's network interface has the addresses of its pods", async (t) => {
  const interfaceOf = (address: string) =>
    `<item><privateIpAddress>${address}</privateIpAddress><privateIpAddressesSet><item>` +
    `<privateIpAddress>${address}</privateIpAddress></item></privateIpAddressesSet></item>`
  const nodes = [{ address: '10.0.32.4', podSubnet: '10.0.48.0/24' }]
  t.equal(addPodPrefixes(interfaceOf('10.0.32.5'), nodes), interfaceOf('10.0.32.5'))
  const xml = addPodPrefixes(interfaceOf('10.0.32.4'), nodes)
  t.equal(xml.match(/<ipv4Prefix>/g)?.length, 16)
  t.match(xml, '</privateIpAddress><ipv4PrefixSet><item><ipv4Prefix>10.0.48.0/28</ipv4Prefix></item>')
})
