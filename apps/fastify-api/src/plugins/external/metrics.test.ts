import * as client from '@prometheus-io/client'
import Fastify from 'fastify'
import fastifyMetrics from 'fastify-metrics'
import t from 'tap'
import { build } from '../../testing/app.ts'

const FIELD = 'metricStorage'

t.test('fastify-metrics keeps timers in the field that the service replaces', async (t) => {
  const plain = Fastify()
  t.teardown(() => plain.close())
  const register = new client.Registry()
  await plain.register(fastifyMetrics.default, {
    promClient: { ...client, register },
    defaultMetrics: { enabled: false },
  })
  t.ok(Reflect.get(plain.metrics, FIELD) instanceof WeakMap)

  const { app } = await build(t)
  await app.ready()
  t.notOk(Reflect.get(app.metrics, FIELD) instanceof WeakMap)
})
