import { REGION } from 'shared/box'
import { type AwsRequest, type AwsResponse, parameterList } from '../request.ts'
import { xmlResponse } from '../xml.ts'

const burstable = ['nano', 'micro', 'small', 'medium', 'large', 'xlarge', '2xlarge']
const graviton = ['medium', 'large', 'xlarge', '2xlarge', '4xlarge', '8xlarge']
const x86 = ['large', 'xlarge', '2xlarge', '4xlarge', '8xlarge']

/** The sizes of instance types, as multiples of `large`. Within a family, prices are proportional to the size. */
const sizes: Readonly<Record<string, number>> = {
  nano: 1 / 16,
  micro: 1 / 8,
  small: 1 / 4,
  medium: 1 / 2,
  large: 1,
  xlarge: 2,
  '2xlarge': 4,
  '4xlarge': 8,
  '8xlarge': 16,
  metal: 32,
}

/**
 * The instance families that the box offers, with the price of the size `large` in eu-central-1: USD an hour, Linux,
 * on-demand, shared tenancy. Source: the price table of Apache Libcloud 3.9.1, of 2025-03-02. It mixes in prices for
 * dedicated tenancy, which are up to 10 % higher, so these are the lowest per size.
 */
const families: Readonly<Record<string, { usd: number; sizes: readonly string[] }>> = {
  t4g: { usd: 0.0768, sizes: burstable },
  t3a: { usd: 0.0864, sizes: burstable },
  t3: { usd: 0.096, sizes: burstable },
  // Karpenter keeps its built-in prices unless there is the price of a bare metal type as well.
  c6g: { usd: 0.0776, sizes: [...graviton, 'metal'] },
  c6a: { usd: 0.0873, sizes: x86 },
  c7g: { usd: 0.0825, sizes: graviton },
  m6g: { usd: 0.092, sizes: graviton },
  m6a: { usd: 0.1035, sizes: x86 },
  m7g: { usd: 0.0978, sizes: graviton },
  r6g: { usd: 0.1216, sizes: graviton },
  r6a: { usd: 0.1368, sizes: x86 },
  r7g: { usd: 0.1292, sizes: graviton },
}

/** The instance types that the box offers, with their price per hour, on-demand, in USD. */
export const onDemandPrices: ReadonlyMap<string, number> = new Map(
  Object.entries(families).flatMap(([family, { usd, sizes: names }]) =>
    names.map((size): [string, number] => [`${family}.${size}`, round(usd * (sizes[size] ?? 1))]),
  ),
)

/** Spot prices on AWS change with supply and demand. Here they are a constant share of the on-demand price. */
const spotShare = 0.4

/** Price per hour of a spot instance in USD; undefined for a type that the box does not offer. */
export function spotPrice(type: string): number | undefined {
  const price = onDemandPrices.get(type)
  return price === undefined ? undefined : round(price * spotShare)
}

/**
 * Limits DescribeInstanceTypes and DescribeInstanceTypeOfferings to the types of the catalogue, unless the request
 * names types. The emulator describes more than 1000 types, which takes it 8 s and Karpenter 340 MB.
 */
export function limitToCatalogue(request: AwsRequest): AwsRequest {
  const parameters = new URLSearchParams(request.body.toString())
  const filters = parameterList(parameters, 'Filter')
  const namesTypes =
    parameters.has('InstanceType.1') || filters.some((filter) => filter.get('Name') === 'instance-type')
  if (namesTypes) return request
  const filter = `Filter.${filters.length + 1}`
  parameters.set(`${filter}.Name`, 'instance-type')
  for (const [index, type] of [...onDemandPrices.keys()].entries()) {
    parameters.set(`${filter}.Value.${index + 1}`, type)
  }
  return { ...request, body: Buffer.from(parameters.toString()) }
}

/** The present spot prices. The emulator has one price for all types, of the year 2006. */
export function describeSpotPriceHistory(request: AwsRequest, now = new Date()): AwsResponse {
  const parameters = new URLSearchParams(request.body.toString())
  const types = parameterList(parameters, 'InstanceType').map((item) => item.get(''))
  const zone = parameters.get('AvailabilityZone')
  const items = [...onDemandPrices.keys()]
    .filter((type) => types.length === 0 || types.includes(type))
    .flatMap((type) =>
      ['a', 'b', 'c']
        .map((letter) => `${REGION}${letter}`)
        .filter((name) => zone === null || name === zone)
        .map(
          (name) =>
            `<item><availabilityZone>${name}</availabilityZone><instanceType>${type}</instanceType>` +
            `<productDescription>Linux/UNIX</productDescription><spotPrice>${spotPrice(type)}</spotPrice>` +
            `<timestamp>${now.toISOString()}</timestamp></item>`,
        ),
    )
  return xmlResponse(
    'DescribeSpotPriceHistory',
    `<spotPriceHistorySet>${items.join('')}</spotPriceHistorySet><nextToken/>`,
  )
}

interface GetProductsRequest {
  ServiceCode?: string
  Filters?: { Field: string; Value: string }[]
}

/** The Price List Query API for instance types. The emulator does not implement it. */
export function getProducts(request: AwsRequest): AwsResponse {
  const { ServiceCode, Filters = [] } = JSON.parse(request.body.toString()) as GetProductsRequest
  const PriceList = [...onDemandPrices]
    .map(([type, usd]) => ({ type, usd, attributes: attributesOf(type) }))
    .filter(({ attributes }) =>
      Filters.every(({ Field, Value }) => attributes[Field.toLowerCase()]?.value === Value),
    )
    .map(({ type, usd, attributes }) => JSON.stringify(product(type, usd, Object.values(attributes))))
  return {
    status: 200,
    headers: { 'content-type': 'application/x-amz-json-1.1' },
    body: Buffer.from(
      JSON.stringify({ FormatVersion: 'aws_v1', PriceList: ServiceCode === 'AmazonEC2' ? PriceList : [] }),
    ),
  }
}

/** What the Price List says about an instance type, by attribute in lower case, because filters ignore the case. */
function attributesOf(type: string): Record<string, { name: string; value: string }> {
  const isMetal = type.endsWith('.metal')
  const attributes = {
    servicecode: 'AmazonEC2',
    regionCode: REGION,
    productFamily: isMetal ? 'Compute Instance (bare metal)' : 'Compute Instance',
    instanceType: type,
    tenancy: isMetal ? 'Dedicated' : 'Shared',
    operatingSystem: 'Linux',
    preInstalledSw: 'NA',
    capacitystatus: 'Used',
    marketoption: 'OnDemand',
  }
  return Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [name.toLowerCase(), { name, value }]),
  )
}

/** The term and rate codes are those of every on-demand price per hour. */
function product(type: string, usd: number, all: { name: string; value: string }[]) {
  const { productFamily, ...attributes } = Object.fromEntries(all.map(({ name, value }) => [name, value]))
  const term = `${type}.JRTCKXETXF`
  const rate = `${term}.6YS6EN2CT7`
  return {
    product: { productFamily, attributes, sku: type },
    serviceCode: 'AmazonEC2',
    terms: {
      OnDemand: {
        [term]: {
          sku: type,
          offerTermCode: 'JRTCKXETXF',
          priceDimensions: {
            [rate]: { rateCode: rate, unit: 'Hrs', pricePerUnit: { USD: usd.toFixed(10) } },
          },
        },
      },
    },
  }
}

function round(usd: number): number {
  return Number(usd.toFixed(6))
}
