import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { type Controller, pinnedVersion } from 'shared/tools'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { readImage } from '../images/layout.ts'
import { packageController } from './controllers.ts'

/** Karpenter's charts as its repository has them at a release: with the version and the image of an earlier one. */
const karpenter = {
  charts: {
    karpenter: {
      '.helmignore': '*.tmp\n',
      'Chart.yaml': 'name: karpenter\nversion: 1.0.0\nappVersion: 1.0.0\n',
      'values.yaml':
        '# the image\ncontroller:\n  image:\n    repository: public.ecr.aws/karpenter/controller\n    tag: 1.0.0\n    digest: sha256:1\n',
      templates: { 'deployment.yaml': 'kind: Deployment\n', 'notes.tmp': '' },
    },
    'karpenter-crd': {
      '.helmignore': '',
      'Chart.yaml': 'name: karpenter-crd\nversion: 1.0.0\n',
      'values.yaml': '',
    },
  },
}
const version = pinnedVersion('karpenter', 'github.com/aws/karpenter-provider-aws').slice(1)

async function packaged(t: Test, name: Controller, source: NonNullable<Parameters<Test['testdir']>[0]>) {
  const directory = t.testdir({ source, built: { program: 'x' } })
  const built = join(directory, 'built')
  await packageController(name, 'program', join(directory, 'source'), built)
  const charts = join(built, 'charts')
  const list = async (chart: string) =>
    (await execa('tar', ['--list', '--file', join(charts, chart)])).stdout.split('\n')
  const read = async (chart: string, file: string) =>
    parse((await execa('tar', ['--extract', '--to-stdout', '--file', join(charts, chart), file])).stdout)
  return { built, charts, list, read }
}

t.test('Karpenter’s charts get the version and the image of the release', async (t) => {
  const { built, charts, list, read } = await packaged(t, 'karpenter', karpenter)
  t.strictSame(
    readdirSync(charts).sort(),
    [`karpenter-${version}.tgz`, `karpenter-crd-${version}.tgz`].sort(),
  )
  t.strictSame(readdirSync(built).sort(), ['charts', 'image', 'program'])
  const chart = `karpenter-${version}.tgz`
  t.match(await read(chart, 'karpenter/Chart.yaml'), { version, appVersion: version })
  const values = await read(chart, 'karpenter/values.yaml')
  const repository = 'public.ecr.aws/karpenter/controller'
  t.strictSame(values, { controller: { image: { repository, tag: version } } })
  t.equal((await readImage(join(built, 'image'))).name, `${repository}:${version}`)
  t.notOk((await list(chart)).includes('karpenter/templates/notes.tmp'), '.helmignore applies')
  t.ok((await list(chart)).includes('karpenter/templates/deployment.yaml'))
})

t.test(
  'the load balancer controller is pinned to the commit of a release, so its chart is complete',
  async (t) => {
    const { built, charts, read } = await packaged(t, 'load-balancer-controller', {
      helm: {
        'aws-load-balancer-controller': {
          '.helmignore': '',
          'Chart.yaml': 'name: aws-load-balancer-controller\nversion: 3.2.2\nappVersion: v3.2.2\n',
          'values.yaml':
            'image: { repository: public.ecr.aws/eks/aws-load-balancer-controller, tag: v3.2.2 }\n',
        },
      },
    })
    t.strictSame(readdirSync(charts), ['aws-load-balancer-controller-3.2.2.tgz'])
    t.match(
      await read('aws-load-balancer-controller-3.2.2.tgz', 'aws-load-balancer-controller/values.yaml'),
      { image: { tag: 'v3.2.2' } },
    )
    t.equal(
      (await readImage(join(built, 'image'))).name,
      'public.ecr.aws/eks/aws-load-balancer-controller:v3.2.2',
    )
  },
)

t.test('the chart of External Secrets contains the definitions, and no other chart', async (t) => {
  const release = pinnedVersion('external-secrets', 'github.com/external-secrets/external-secrets').slice(1)
  const definitions = Object.fromEntries(
    [
      'external-secrets.io_clustersecretstores',
      'external-secrets.io_externalsecrets',
      'external-secrets.io_secretstores',
      'generators.external-secrets.io_generatorstates',
    ].map((name) => [`${name}.yaml`, `kind: CustomResourceDefinition\n`]),
  )
  const { charts, list, read } = await packaged(t, 'external-secrets', {
    config: { crds: { bases: definitions } },
    deploy: {
      charts: {
        'external-secrets': {
          '.helmignore': 'templates/crds/README.md\n',
          'Chart.yaml':
            'name: external-secrets\nversion: 0.1.0\nappVersion: v0.1.0\ndependencies: [{ name: other, version: 1.0.0 }]\n',
          'values.yaml': 'image: { repository: oci.external-secrets.io/external-secrets, tag: "" }\n',
          templates: { crds: { 'README.md': '' } },
        },
      },
    },
  })
  const chart = `external-secrets-${release}.tgz`
  t.strictSame(await read(chart, 'external-secrets/Chart.yaml'), {
    name: 'external-secrets',
    version: release,
    appVersion: release,
  })
  t.match(await read(chart, 'external-secrets/values.yaml'), { image: { tag: release } })
  t.strictSame(
    (await list(chart)).filter((file) => /crds\/./.test(file)).sort(),
    Object.keys(definitions)
      .map((file) => `external-secrets/templates/crds/${file}`)
      .sort(),
  )
  const stores = 'external-secrets/templates/crds/external-secrets.io_secretstores.yaml'
  const { stdout } = await execa('tar', ['--extract', '--to-stdout', '--file', join(charts, chart), stores])
  t.equal(
    stdout,
    '{{- if .Values.installCRDs }}\nkind: CustomResourceDefinition\n{{- end }}',
    'they can be left out',
  )
})

t.test('the same charts make the same archives', async (t) => {
  const digests = async () => {
    const { charts } = await packaged(t, 'karpenter', karpenter)
    return readdirSync(charts).map((file) =>
      createHash('sha256')
        .update(readFileSync(join(charts, file)))
        .digest('hex'),
    )
  }
  t.strictSame(await digests(), await digests())
})
