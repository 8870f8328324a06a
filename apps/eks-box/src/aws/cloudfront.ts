import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ACCOUNT } from 'shared/box'
import { escapeXml } from './aws-error.ts'
import type { AwsRequest, AwsResponse } from './request.ts'

type Kind = 'distribution' | 'vpc-origin'

/** A distribution or VPC origin. */
interface Resource {
  kind: Kind
  id: string
  /** The content of its configuration, in XML, as the client sent it. */
  config: string
  /** Changes with the configuration; a client must name it to change or delete the resource. */
  etag: string
  tags: Record<string, string>
  modified: string
}

const NAMESPACE = 'xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"'

/** The element that contains the configuration. */
const configElement: Readonly<Record<Kind, string>> = {
  distribution: 'DistributionConfig',
  'vpc-origin': 'VpcOriginEndpointConfig',
}

/** An error of the CloudFront API. */
class CloudFrontError extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/**
 * The distributions and VPC origins of the account, which the emulator stores incompletely or not at all. They are kept
 * as the client sent them, count as deployed immediately, and serve no requests.
 */
export class CloudFront {
  readonly #path: string
  readonly #resources: Map<string, Resource>
  #written: Promise<void> = Promise.resolve()

  /** @param path of the file that keeps them. */
  constructor(path: string) {
    this.#path = path
    const stored = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Resource[]) : []
    this.#resources = new Map(stored.map((resource) => [resource.id, resource]))
  }

  /** The response to a request that is signed for CloudFront; undefined for the parts that the emulator has. */
  async respond(request: AwsRequest): Promise<AwsResponse | undefined> {
    const url = new URL(request.url, 'http://cloudfront')
    const [, kind, id, part] =
      /^\/2020-05-31\/(distribution|vpc-origin|tagging)(?:\/([^/]+))?(?:\/(config))?$/.exec(url.pathname) ??
      []
    if (kind === undefined) return undefined
    try {
      const response =
        kind === 'tagging'
          ? this.#tagging(request, url.searchParams)
          : this.#operate(request, kind as Kind, id, part === 'config')
      if (request.method !== 'GET') await this.#store()
      return response
    } catch (error) {
      if (!(error instanceof CloudFrontError)) throw error
      const content = `<Type>Sender</Type><Code>${error.code}</Code><Message>${escapeXml(error.message)}</Message>`
      return inXml(
        error.status,
        `<ErrorResponse ${NAMESPACE}><Error>${content}</Error><RequestId>${randomUUID()}</RequestId></ErrorResponse>`,
      )
    }
  }

  #operate(request: AwsRequest, kind: Kind, id: string | undefined, onlyConfig: boolean): AwsResponse {
    const body = request.body.toString()
    if (id === undefined) {
      return request.method === 'POST' ? this.#create(kind, body) : this.#list(kind)
    }
    const resource = this.#find(kind, id)
    if (request.method === 'GET') return describe(200, resource, onlyConfig)
    if (request.headers['if-match'] !== resource.etag) {
      throw new CloudFrontError(412, 'PreconditionFailed', 'The ETag in If-Match is not the present one.')
    }
    if (request.method === 'DELETE') return this.#delete(resource)
    Object.assign(resource, configured(kind, body))
    return describe(200, resource)
  }

  #create(kind: Kind, body: string): AwsResponse {
    const random = randomBytes(8).toString('hex').slice(0, 13)
    const resource: Resource = {
      kind,
      id: kind === 'distribution' ? `E${random.toUpperCase()}` : `vo_${random}`,
      tags: tagsIn(body),
      ...configured(kind, body),
    }
    this.#resources.set(resource.id, resource)
    return describe(kind === 'distribution' ? 201 : 202, resource)
  }

  #list(kind: Kind): AwsResponse {
    const items = [...this.#resources.values()].filter((resource) => resource.kind === kind)
    const list = kind === 'distribution' ? 'DistributionList' : 'VpcOriginList'
    const item = `${kind === 'distribution' ? 'Distribution' : 'VpcOrigin'}Summary`
    return inXml(
      200,
      `<${list} ${NAMESPACE}><Marker></Marker><MaxItems>100</MaxItems><IsTruncated>false</IsTruncated><Quantity>${items.length}</Quantity><Items>${items.map((resource) => `<${item}>${summary(resource)}</${item}>`).join('')}</Items></${list}>`,
    )
  }

  #delete(resource: Resource): AwsResponse {
    const { kind, id } = resource
    if (kind === 'distribution' && childText(resource.config, 'Enabled') === 'true') {
      throw new CloudFrontError(409, 'DistributionNotDisabled', 'The distribution is not disabled.')
    }
    const isUsed = [...this.#resources.values()].some(({ config }) =>
      config.includes(`<VpcOriginId>${id}</VpcOriginId>`),
    )
    if (isUsed) {
      throw new CloudFrontError(409, 'CannotDeleteEntityWhileInUse', 'A distribution uses the VPC origin.')
    }
    this.#resources.delete(id)
    return kind === 'distribution' ? inXml(204, '') : describe(202, resource)
  }

  #tagging({ method, body }: AwsRequest, query: URLSearchParams): AwsResponse {
    const [, kind, id = ''] = /:(distribution|vpcorigin)\/([^/]+)$/.exec(query.get('Resource') ?? '') ?? []
    const resource = this.#find(kind === 'distribution' ? 'distribution' : 'vpc-origin', id)
    if (method === 'GET') {
      const items = Object.entries(resource.tags).map(
        ([key, value]) => `<Tag><Key>${escapeXml(key)}</Key><Value>${escapeXml(value)}</Value></Tag>`,
      )
      return inXml(200, `<Tags ${NAMESPACE}><Items>${items.join('')}</Items></Tags>`)
    }
    if (query.get('Operation') === 'Tag') Object.assign(resource.tags, tagsIn(body.toString()))
    else for (const key of keysIn(body.toString())) delete resource.tags[key]
    return inXml(204, '')
  }

  #find(kind: Kind, id: string): Resource {
    const resource = this.#resources.get(id)
    if (resource?.kind === kind) return resource
    throw new CloudFrontError(
      404,
      kind === 'distribution' ? 'NoSuchDistribution' : 'EntityNotFound',
      `The ${kind} ${id} does not exist.`,
    )
  }

  /** Writes one after the other, so that the last state remains. */
  #store(): Promise<void> {
    this.#written = this.#written.then(async () => {
      await mkdir(dirname(this.#path), { recursive: true })
      await writeFile(`${this.#path}.new`, JSON.stringify([...this.#resources.values()]))
      await rename(`${this.#path}.new`, this.#path)
    })
    return this.#written
  }
}

function configured(kind: Kind, body: string): Pick<Resource, 'config' | 'etag' | 'modified'> {
  const element = configElement[kind]
  const config = new RegExp(`<${element}(?:\\s[^>]*)?>(.*)</${element}>`, 's').exec(body)?.[1]
  if (config === undefined) throw new CloudFrontError(400, 'InvalidArgument', `There is no ${element}.`)
  const modified = new Date().toISOString()
  const etag = `E${createHash('sha256').update(`${modified}${randomUUID()}`).digest('hex').slice(0, 13).toUpperCase()}`
  return { config, etag, modified }
}

function describe(status: number, resource: Resource, onlyConfig = false): AwsResponse {
  const element = configElement[resource.kind]
  // CloudFront adds what a client may omit. The Terraform provider relies on this element.
  const groups =
    resource.kind === 'distribution' && childText(resource.config, 'OriginGroups') === undefined
      ? '<OriginGroups><Quantity>0</Quantity></OriginGroups>'
      : ''
  const config = (attribute: string) => `<${element}${attribute}>${resource.config}${groups}</${element}>`
  if (onlyConfig) return inXml(status, config(` ${NAMESPACE}`), resource.etag)
  const root = resource.kind === 'distribution' ? 'Distribution' : 'VpcOrigin'
  return inXml(status, `<${root} ${NAMESPACE}>${summary(resource)}${config('')}</${root}>`, resource.etag)
}

function summary({ kind, id, modified, config }: Resource): string {
  const arn = `arn:aws:cloudfront::${ACCOUNT}:${kind.replace('-', '')}/${id}`
  const common = `<Id>${id}</Id><Status>Deployed</Status><LastModifiedTime>${modified}</LastModifiedTime>`
  if (kind === 'vpc-origin') return `${common}<Arn>${arn}</Arn><CreatedTime>${modified}</CreatedTime>`
  const none = '<Enabled>false</Enabled><Quantity>0</Quantity>'
  return `${common}<ARN>${arn}</ARN><DomainName>${id.toLowerCase()}.cloudfront.net</DomainName><InProgressInvalidationBatches>0</InProgressInvalidationBatches><ActiveTrustedSigners>${none}</ActiveTrustedSigners><ActiveTrustedKeyGroups>${none}</ActiveTrustedKeyGroups><Enabled>${childText(config, 'Enabled')}</Enabled>`
}

/** The text of a child element. Elements of the same name further down do not count. */
function childText(xml: string, name: string): string | undefined {
  let depth = 0
  let start: number | undefined
  for (const tag of xml.matchAll(/<(\/?)([\w:]+)[^>]*?(\/?)>/g)) {
    const [text, closing, element, empty] = tag
    if (empty === '/') continue
    if (closing === '/') {
      depth--
      if (depth === 0 && start !== undefined) return xml.slice(start, tag.index)
    } else {
      if (depth === 0 && element === name) start = tag.index + text.length
      depth++
    }
  }
  return undefined
}

function tagsIn(body: string): Record<string, string> {
  const tags = body.matchAll(/<Tag><Key>(.*?)<\/Key>(?:<Value>(.*?)<\/Value>|<Value\/>)?<\/Tag>/gs)
  return Object.fromEntries(
    [...tags].map(([, key = '', value = '']) => [unescapeXml(key), unescapeXml(value)]),
  )
}

function keysIn(body: string): string[] {
  return [...body.matchAll(/<Key>(.*?)<\/Key>/gs)].map(([, key = '']) => unescapeXml(key))
}

function unescapeXml(text: string): string {
  const characters: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' }
  return text.replaceAll(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (all, decimal, hex, name) => {
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal))
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16))
    return characters[name] ?? all
  })
}

function inXml(status: number, xml: string, etag?: string): AwsResponse {
  return {
    status,
    headers: {
      'content-type': 'text/xml',
      'x-amzn-requestid': randomUUID(),
      ...(etag === undefined ? {} : { etag }),
    },
    body: Buffer.from(xml === '' ? '' : `<?xml version="1.0"?>\n${xml}`),
  }
}
