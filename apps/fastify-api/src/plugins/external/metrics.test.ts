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

t.test('a timer without labels records a value too', async (t) => {
  const { app } = await build(t)
  await app.ready()
  const histogram = new app.metrics.client.Histogram({ name: 'a', help: 'a', registers: [] })
  t.type(histogram.startTimer()(), 'number')
  const { values } = await histogram.get()
  t.match(values.at(-1), { metricName: 'a_count', value: 1 })
})
