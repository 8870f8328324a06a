import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { execa } from 'execa'
import { CONTROLLERS, type Controller, pinnedVersion, type Tool } from 'shared/tools'
import { parseDocument } from 'yaml'
import { writeImage } from '../images/layout.ts'
import { archive } from './archive.ts'
import { EXTERNAL_SECRETS } from './external-secrets.ts'

interface Release {
  /** The Go module with the program and the charts. */
  module: string
  /** The directories of the charts in the module. */
  charts: readonly string[]
  /** The path of the image in the values of the chart that deploys it. */
  image: readonly string[]
  /** The custom resource definitions that the project adds to the chart's templates when it releases it. */
  definitions?: readonly string[]
}

const releases: Record<Controller, Release> = {
  karpenter: {
    module: 'github.com/aws/karpenter-provider-aws',
    charts: ['charts/karpenter', 'charts/karpenter-crd'],
    image: ['controller', 'image'],
  },
  'load-balancer-controller': {
    module: 'sigs.k8s.io/aws-load-balancer-controller',
    charts: ['helm/aws-load-balancer-controller'],
    image: ['image'],
  },
  'external-secrets': {
    module: EXTERNAL_SECRETS,
    charts: ['deploy/charts/external-secrets'],
    image: ['image'],
    // Those of the kinds that the operator watches with our values.
    definitions: [
      'config/crds/bases/external-secrets.io_clustersecretstores.yaml',
      'config/crds/bases/external-secrets.io_externalsecrets.yaml',
      'config/crds/bases/external-secrets.io_secretstores.yaml',
      'config/crds/bases/generators.external-secrets.io_generatorstates.yaml',
    ],
  },
}

/** The user and group `nonroot` of the images that both projects build on. */
const nonRoot = '65532:65532'

export function isController(tool: Tool): tool is Controller {
  return CONTROLLERS.some((name) => name === tool)
}

/** The Go module of a controller, which contains its charts. */
export function moduleOf(controller: Controller): string {
  return releases[controller].module
}

/**
 * Packages a controller's charts, and makes the image that they deploy.
 *
 * @param source directory of the controller's Go module.
 * @param directory the tool's directory, with the program.
 */
export async function packageController(
  controller: Controller,
  program: string,
  source: string,
  directory: string,
): Promise<void> {
  const { module, charts, image, definitions = [] } = releases[controller]
  const version = releaseVersion(pinnedVersion(controller, module))
  const target = join(directory, 'charts')
  const work = join(directory, 'work')
  await Promise.all([target, work].map((path) => mkdir(path, { recursive: true })))
  const names = await Promise.all(
    charts.map((chart) =>
      packageChart(
        join(source, chart),
        work,
        target,
        version,
        image,
        definitions.map((file) => join(source, file)),
      ),
    ),
  )
  await rm(work, { recursive: true })
  const name = names.find((entry) => entry !== undefined)
  if (name === undefined) throw new TypeError(`no chart of ${module} names an image`)
  await writeImage(join(directory, 'image'), name, directory, program, nonRoot)
}

/**
 * The version of the release at a module's version; undefined for a commit, whose charts have the version of their
 * release.
 */
function releaseVersion(moduleVersion: string): string | undefined {
  return moduleVersion.startsWith('v0.0.0-') ? undefined : moduleVersion.slice(1)
}

/**
 * Packages the chart in `source` as `helm package` does, but as a reproducible archive.
 *
 * @param version version to set, as the project's own release does.
 * @param definitions files to add to the templates.
 * @returns the name of the image that the chart deploys, if it deploys one.
 */
async function packageChart(
  source: string,
  work: string,
  target: string,
  version: string | undefined,
  image: readonly string[],
  definitions: readonly string[],
): Promise<string | undefined> {
  const name = basename(source)
  const copy = join(work, name)
  // Files in Go's module cache are read-only.
  await execa('cp', ['--recursive', '--no-preserve=mode', source, copy])
  for (const file of definitions) {
    // The project's release makes the same condition of them.
    const template = `{{- if .Values.installCRDs }}\n${await readFile(file, 'utf8')}{{- end }}\n`
    await writeFile(join(copy, 'templates', 'crds', basename(file)), template)
  }
  const chart = parseDocument(await readFile(join(copy, 'Chart.yaml'), 'utf8'))
  const values = parseDocument(await readFile(join(copy, 'values.yaml'), 'utf8'))
  if (version !== undefined) {
    // The charts in the repository still have the version of an earlier release.
    chart.set('version', version)
    chart.set('appVersion', version)
    // Charts of other projects, which are off by default. They are not in the module, and Helm insists on them.
    chart.delete('dependencies')
    await writeFile(join(copy, 'Chart.yaml'), chart.toString({ lineWidth: 0 }))
    if (values.hasIn([...image, 'repository'])) {
      values.setIn([...image, 'tag'], version)
      // The digest belongs to the published image of the earlier release.
      values.deleteIn([...image, 'digest'])
      await writeFile(join(copy, 'values.yaml'), values.toString({ lineWidth: 0 }))
    }
  }
  const ignored = `--exclude-from=${join(copy, '.helmignore')}`
  await archive(join(target, `${name}-${String(chart.get('version'))}.tgz`), work, [ignored, name])
  return values.hasIn([...image, 'repository'])
    ? `${String(values.getIn([...image, 'repository']))}:${String(values.getIn([...image, 'tag']))}`
    : undefined
}
