import { REGION } from 'shared/box'
import { type AwsRequest, type AwsResponse, parameterList } from '../request.ts'
import { xmlResponse } from '../xml.ts'

/** The image to which the parameter `recommended` refers. */
const recommendedRelease = '20260714'

/** The account that owns EKS's images in most regions. */
const imageOwner = '602401143452'

/** An image of Amazon Linux 2023 for nodes of EKS. */
interface EksImage {
  id: string
  architecture: Architecture
  /** Minor version of Kubernetes 1. */
  minor: string
  /** Date of the release. */
  release: string
}

const architectures = ['x86_64', 'arm64'] as const
type Architecture = (typeof architectures)[number]

const idPattern = /^ami-ec5([01])00(\d{3})(20\d{6})$/

/** The id contains what distinguishes the image, so nothing has to be stored. */
function eksImage(architecture: Architecture, minor: string, release: string): EksImage {
  const id = `ami-ec5${architectures.indexOf(architecture)}00${minor.padStart(3, '0')}${release}`
  return { id, architecture, minor, release }
}

function parseId(id: string): EksImage | undefined {
  const [, architecture = '', minor = '', release = ''] = idPattern.exec(id) ?? []
  const name = architectures[Number(architecture)]
  return architecture === '' || name === undefined
    ? undefined
    : { id, architecture: name, minor: String(Number(minor)), release }
}

function nameOf({ architecture, minor, release }: EksImage): string {
  return `amazon-eks-node-al2023-${architecture}-standard-1.${minor}-v${release}`
}

const parameterPattern =
  /^\/aws\/service\/eks\/optimized-ami\/1\.(\d{2})\/amazon-linux-2023\/(x86_64|arm64)\/standard\/([\w.-]+)\/image_id$/

/**
 * SSM's public parameters with the images for nodes, of which every release exists; undefined for other parameters. The
 * emulator has no parameters of EKS and refuses to create them.
 */
export function getEksImageParameter(request: AwsRequest): AwsResponse | undefined {
  const { Name = '' } = JSON.parse(request.body.toString()) as { Name?: string }
  const [, minor = '', architecture = '', name = ''] = parameterPattern.exec(Name) ?? []
  if (architecture !== 'x86_64' && architecture !== 'arm64') return undefined
  const release = name === 'recommended' ? recommendedRelease : (/-v(20\d{6})$/.exec(name)?.[1] ?? '')
  const image = eksImage(architecture, minor, release)
  if (name !== 'recommended' && name !== nameOf(image)) return undefined
  const Parameter = {
    Name,
    Type: 'String',
    Value: image.id,
    Version: 1,
    LastModifiedDate: Date.parse(isoDate(image)) / 1000,
    ARN: `arn:aws:ssm:${REGION}::parameter${Name}`,
    DataType: 'aws:ec2:image',
  }
  return {
    status: 200,
    headers: { 'content-type': 'application/x-amz-json-1.1' },
    body: Buffer.from(JSON.stringify({ Parameter })),
  }
}

/** Describes images for nodes; undefined if the request asks for others. */
export function describeEksImages(request: AwsRequest): AwsResponse | undefined {
  const parameters = new URLSearchParams(request.body.toString())
  const filtered = parameterList(parameters, 'Filter')
    .filter((filter) => filter.get('Name') === 'image-id')
    .flatMap((filter) => parameterList(filter, 'Value'))
  const ids = [...parameterList(parameters, 'ImageId'), ...filtered].map((item) => item.get('') ?? '')
  const images = ids.flatMap((id) => parseId(id) ?? [])
  if (images.length === 0 || images.length < ids.length) return undefined
  return xmlResponse('DescribeImages', `<imagesSet>${images.map(describe).join('')}</imagesSet>`)
}

function describe(image: EksImage): string {
  return (
    `<item><imageId>${image.id}</imageId><name>${nameOf(image)}</name>` +
    `<description>EKS-optimized Kubernetes node based on Amazon Linux 2023 (Kubernetes 1.${image.minor})</description>` +
    `<imageLocation>amazon/${nameOf(image)}</imageLocation><imageOwnerAlias>amazon</imageOwnerAlias>` +
    `<imageOwnerId>${imageOwner}</imageOwnerId><imageState>available</imageState><isPublic>true</isPublic>` +
    `<architecture>${image.architecture}</architecture><imageType>machine</imageType><hypervisor>xen</hypervisor>` +
    `<virtualizationType>hvm</virtualizationType><enaSupport>true</enaSupport>` +
    `<rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName>` +
    `<creationDate>${isoDate(image)}</creationDate></item>`
  )
}

function isoDate({ release }: EksImage): string {
  return `${release.replace(/^(\d{4})(\d{2})(\d{2})$/, '$1-$2-$3')}T00:00:00.000Z`
}
