import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import { REPOSITORY_ROOT } from 'shared/environment'
import { kubernetesVersion, pinnedVersion, programPath, toolModule } from 'shared/tools'
import t from 'tap'
import { differences, type ModuleInterface, parseConstraint } from './module-interface.ts'
import { chooseModules, writeManifest } from './modules.ts'

const tests = join(REPOSITORY_ROOT, 'infrastructure-hcl', 'tests')
const inspect = programPath(readBoxConfig(process.env), 'terraform-config-inspect')

interface Inspected {
  variables: Record<string, { type?: string; default?: unknown }>
  outputs: Record<string, unknown>
  module_calls: Record<string, { source: string; version?: string }>
}

const inspected = async (directory: string) =>
  JSON.parse((await execa(inspect, ['--json', directory])).stdout) as Inspected

const interfaces = readdirSync(join(tests, 'interfaces')).map(
  (file) => JSON.parse(readFileSync(join(tests, 'interfaces', file), 'utf8')) as ModuleInterface,
)

for (const { module, version, inputs, outputs } of interfaces) {
  t.test(`the stand-in for ${module} has no input or output that ${version} lacks`, async (t) => {
    const [address = '', below = ''] = module.split('//')
    const standIn = await inspected(join(tests, 'stand-ins', address.split('/')[1] ?? '', below))
    for (const [name, { type = 'any' }] of Object.entries(standIn.variables)) {
      const real = inputs[name]
      if (real === undefined) t.fail(`${module} has no input ${name}`)
      else t.strictSame(differences(parseConstraint(type), parseConstraint(real), name), [], name)
    }
    const unknown = Object.keys(standIn.outputs).filter((name) => !outputs.includes(name))
    t.strictSame(unknown, [], 'outputs')
  })
}

t.test('the stacks use the module versions whose interfaces are recorded', async (t) => {
  for (const stack of ['network', 'cluster']) {
    const { module_calls: calls } = await inspected(join(REPOSITORY_ROOT, 'infrastructure-hcl', stack))
    for (const { source, version } of Object.values(calls)) {
      const recorded = interfaces.find(({ module }) => module === source)
      t.equal(version, recorded?.version, source)
    }
  }
})

t.test('the stacks use the Kubernetes version of the box', async (t) => {
  const { variables } = await inspected(join(REPOSITORY_ROOT, 'infrastructure-hcl', 'cluster'))
  const [, minor] = /^v(\d+\.\d+)\./.exec(kubernetesVersion()) ?? []
  t.equal(variables['kubernetes_version']?.default, minor)
})

t.test('the platform installs the version of Karpenter that the box builds', async (t) => {
  const built = pinnedVersion('karpenter', 'github.com/aws/karpenter-provider-aws')
  t.equal(pinnedVersion('karpenter', 'sigs.k8s.io/karpenter'), built, 'its two modules have one version')
  const platform = join(REPOSITORY_ROOT, 'infrastructure-hcl', 'platform')
  const texts = globSync('**/*.tf', { cwd: platform }).map((file) =>
    readFileSync(join(platform, file), 'utf8'),
  )
  const pins = [...texts.join('\n').matchAll(/^ *(karpenter(?:-crd)?) +=.* version = "([^"]+)"/gm)]
  t.strictSame(
    pins.map(([, chart, version]) => [chart, `v${version}`]),
    [
      ['karpenter', built],
      ['karpenter-crd', built],
    ],
  )
  const definitions = join(toolModule('karpenter'), '..', 'custom-resource-definitions', 'go.mod')
  t.match(readFileSync(definitions, 'utf8'), `github.com/aws/karpenter-provider-aws ${built}`)
})

t.test('a type that differs from the module’s is reported', async (t) => {
  const found = (standIn: string, real: string) =>
    differences(parseConstraint(standIn), parseConstraint(real), 'x')
  t.strictSame(found('string', 'string'), [])
  t.strictSame(found('list(string)', 'list(string)'), [])
  t.strictSame(found('object({ a = string })', 'object({ a = string, b = optional(number, 1) })'), [])
  t.strictSame(found('map(number)', 'any'), [])
  t.match(found('string', 'number'), [/x: string, not number/])
  t.match(found('list(string)', 'set(string)'), [/x: list, not set/])
  t.match(found('map(object({ a = bool }))', 'map(object({ a = string }))'), [/x\[\]\.a: bool, not string/])
  t.match(found('object({ c = string })', 'object({ a = string })'), [/x\.c: the module has no such/])
  t.match(found('object({ a = string })', 'object({ a = optional(string) })'), [/optional in the module/])
  t.throws(() => parseConstraint('object({ a = string'), SyntaxError)
})

const offline = async () => false

t.test('modules come from the mirror if one is set', async (t) => {
  const mirror = t.testdir()
  const choice = { mirror, standIns: '/stand-ins', canReachRegistry: offline }
  t.strictSame(await chooseModules({ ...choice, isLocal: true }), { kind: 'mirror', directory: mirror })
  t.strictSame(await chooseModules({ ...choice, isLocal: false }), { kind: 'mirror', directory: mirror })
  await t.rejects(chooseModules({ ...choice, mirror: '/nowhere', isLocal: true }), {
    message: /no such directory/,
    nextStep: /namespace/,
  })
})

t.test('only the box probes the registry, and falls back to the stand-ins', async (t) => {
  const choice = { mirror: undefined, standIns: '/stand-ins' }
  const box = { ...choice, isLocal: true }
  t.strictSame(await chooseModules({ ...box, canReachRegistry: async () => true }), { kind: 'registry' })
  t.strictSame(await chooseModules({ ...box, canReachRegistry: offline }), {
    kind: 'stand-ins',
    directory: '/stand-ins',
  })
  const canReachRegistry = () => Promise.reject(new Error('AWS must not depend on this probe'))
  t.strictSame(await chooseModules({ ...choice, isLocal: false, canReachRegistry }), { kind: 'registry' })
})

t.test('the manifest maps each module call to its directory, including calls within modules', async (t) => {
  const files: Record<string, string> = {
    'stack/main.tf':
      'module "eks" {\n  source = "terraform-aws-modules/eks/aws"\n  version = "1.2.3"\n}\n' +
      'module "part" {\n  source = "terraform-aws-modules/eks/aws//modules/part"\n  version = "1.2.3"\n}\n',
    'mirror/terraform-aws-modules/eks/aws/1.2.3/main.tf':
      'module "nodes" {\n  source = "./modules/part"\n}\n' +
      'module "kms" {\n  source = "terraform-aws-modules/kms/aws"\n  version = "4.0.0"\n}\n',
    'mirror/terraform-aws-modules/eks/aws/1.2.3/modules/part/main.tf': '',
    'mirror/terraform-aws-modules/kms/aws/4.0.0/main.tf': '',
  }
  const root = t.testdir()
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  const [stack, data] = [join(root, 'stack'), join(root, 'data')]
  const mirror = { kind: 'mirror' as const, directory: join(root, 'mirror') }
  await writeManifest(stack, data, mirror, inspect)
  const { Modules } = JSON.parse(readFileSync(join(data, 'modules', 'modules.json'), 'utf8')) as {
    Modules: { Key: string; Dir: string }[]
  }
  t.strictSame(Modules.map(({ Key }) => Key).sort(), ['', 'eks', 'eks.kms', 'eks.nodes', 'part'])
  for (const { Dir } of Modules) t.ok(existsSync(join(stack, Dir)), Dir)

  const standIns = { kind: 'stand-ins' as const, directory: join(root, 'mirror') }
  await t.rejects(writeManifest(stack, data, standIns, inspect), {
    message: /no stand-in for terraform-aws-modules/,
    nextStep: /stand-ins/,
  })
})
