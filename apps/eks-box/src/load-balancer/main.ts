/** The component `load-balancers`: makes the load balancers of the emulated account real, with HAProxy. */
import { join } from 'node:path'
import { ACMClient } from '@aws-sdk/client-acm'
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2'
import { readBoxConfig } from 'shared/box'
import { readAccountKeys } from '../aws/keys.ts'
import { ownClient } from '../aws/own-client.ts'
import { PORTS } from '../cluster.ts'
import { haproxyFiles } from '../components/load-balancers.ts'
import { accountKeysPath } from '../preparation/credentials.ts'
import { boxPaths } from '../state-directory.ts'
import { Addresses, loadBalancerHosts } from './addresses.ts'
import { Certificates } from './certificates.ts'
import { Controller } from './controller.ts'
import { Haproxy } from './haproxy.ts'
import { readState } from './read-state.ts'
import { buildServer } from './server.ts'

const config = readBoxConfig(process.env)
const { data, pki, run } = boxPaths(config)
const options = ownClient(await readAccountKeys(accountKeysPath(config)))
const elb = new ElasticLoadBalancingV2Client(options)
const certificates = new Certificates({
  acm: new ACMClient(options),
  directory: join(run, 'load-balancer-certificates'),
  pki,
  journal: join(data, 'aws', 'journal.jsonl'),
})
const haproxy = new Haproxy(haproxyFiles(config))
const controller = new Controller({
  readState: () =>
    readState(elb, async (ids) => {
      // Loaded only if there are such targets, because EC2's client takes 70 MB.
      const { instanceAddresses } = await import('./instance-addresses.ts')
      return instanceAddresses(options, ids)
    }),
  addresses: new Addresses(loadBalancerHosts(config)),
  certificateFile: (arn) => certificates.file(arn),
  apply: (state, context) => haproxy.apply(state, context),
  socketPrefix: '',
})
await controller.refresh()
await buildServer(controller).listen({ port: PORTS.loadBalancers, host: '127.0.0.1' })
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0))
