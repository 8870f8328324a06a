import t from 'tap'
import { freePodSubnet } from '../node/pod-subnets.ts'
import { serverAddress } from './addresses.ts'

t.test('the servers have different addresses of their subnet, below those of pods', async (t) => {
  t.equal(serverAddress('database', '10.0.32.0/19'), '10.0.47.254')
  t.equal(serverAddress('cache', '10.0.32.0/19'), '10.0.47.253')
  t.equal(freePodSubnet('10.0.32.0/19', new Set()), '10.0.48.0/24')
  t.equal(serverAddress('database', '10.0.67.0/24'), '10.0.67.126')
})
