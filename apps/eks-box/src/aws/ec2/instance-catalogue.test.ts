import { PRICES } from 'shared/prices'
import t from 'tap'
import { onDemandPrices, spotPrice } from './instance-catalogue.ts'

t.test('the prices are those with which `make cost` calculates', async (t) => {
  const { instances } = PRICES
  const names = Object.keys(instances)
  t.ok(names.length > 0)
  for (const name of names) t.equal(onDemandPrices.get(name), instances[name]?.usd, name)
})

t.test(
  'the catalogue has siblings of both architectures, and spot prices below the on-demand prices',
  async (t) => {
    for (const name of ['t4g.small', 'c6g.medium', 't3a.small', 't3.small', 'm7g.8xlarge']) {
      t.ok(onDemandPrices.has(name), name)
    }
    for (const [name, usd] of onDemandPrices) t.ok((spotPrice(name) ?? usd) < usd, name)
    t.equal(spotPrice('x1.32xlarge'), undefined)
  },
)
