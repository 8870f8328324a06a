import { join } from 'node:path'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import { readChartPrograms } from './chart.ts'
import { checkChart } from './check-chart.ts'
import { storeKubernetesSchemas } from './kubernetes-schemas.ts'

/** A kind with the field that the check misspells. */
const OPENAPI = {
  definitions: {
    'io.k8s.api.core.v1.Pod': {
      type: 'object',
      properties: {
        apiVersion: { type: 'string' },
        kind: { type: 'string' },
        metadata: { type: 'object' },
        spec: { type: 'object', properties: { readinessProbe: { type: 'object' } } },
      },
      'x-kubernetes-group-version-kind': [{ group: '', version: 'v1', kind: 'Pod' }],
    },
  },
}

const POD = `apiVersion: v1
kind: Pod
metadata:
  name: sample
  annotations:
    image: {{ .Values.image.repository }}:{{ .Values.image.tag }}
spec:
  readinessProbe: {}
`

/** A chart with one environment and one case, and its schemas. */
function fixture(t: Test, { template = POD, values = '', openApi = OPENAPI }: Partial<Fixture> = {}) {
  const directory = t.testdir({
    'swagger.json': JSON.stringify(openApi),
    chart: {
      'Chart.yaml': 'apiVersion: v2\nname: sample\nversion: 1.0.0\nicon: https://example.org/icon.svg\n',
      'values.yaml': 'image: { repository: "", tag: "" }\n',
      'values-dev.yaml': values,
      'values.schema.json':
        '{ "properties": { "image": {}, "database": {}, "ingress": {} }, "additionalProperties": false }',
      ci: { 'case-values.yaml': 'image: { repository: case, tag: "1" }\n' },
      templates: { 'pod.yaml': template },
    },
  })
  const schemas = storeKubernetesSchemas(join(directory, 'swagger.json'), join(directory, 'schemas'))
  const reports: string[] = []
  const programs = readChartPrograms(process.env)
  const check = () =>
    checkChart(programs, join(directory, 'chart'), 'readinessProbe', [schemas], (line) => reports.push(line))
  return { check, reports }
}

interface Fixture {
  template: string
  values: string
  openApi: object
}

t.test('every environment and every case is reported', async (t) => {
  const { check, reports } = fixture(t)
  await check()
  t.match(reports, [
    'values-dev.yaml: Summary: 1 resource found parsing stdin - Valid: 1',
    'ci/case-values.yaml: Summary: 1 resource found parsing stdin - Valid: 1',
  ])
})

t.test('a misspelt field in a template is refused by kubeconform', async (t) => {
  const { check } = fixture(t, { template: POD.replace('spec:', 'spec:\n  restartPolicies: Never') })
  await t.rejects(check(), {
    name: 'ActionableError',
    message: /kubeconform refuses the chart with values-dev.yaml: .*Pod.*restartPolicies/s,
  })
})

t.test('an unknown value is refused by helm', async (t) => {
  const { check } = fixture(t, { values: 'replicas: 3' })
  await t.rejects(check(), {
    message: /helm refuses the chart with values-dev.yaml: .*additional properties 'replicas' not allowed/s,
  })
})

t.test('schemas that accept a misspelt field are reported', async (t) => {
  const { 'io.k8s.api.core.v1.Pod': pod } = OPENAPI.definitions
  const openApi = { definitions: { Pod: { ...pod, properties: undefined } } }
  const { check } = fixture(t, { openApi })
  await t.rejects(check(), { message: /accept a misspelt readinessProbe/ })
})

t.test('a kind without a schema is refused', async (t) => {
  const { check } = fixture(t, { openApi: { definitions: {} } })
  await t.rejects(check(), { message: /could not find schema for Pod/ })
})

t.test('the command prints the error and the next step', async (t) => {
  const directory = t.testdir()
  const missing = join(directory, 'swagger.json')
  const result = await execa({
    reject: false,
  })`${process.execPath} ${join(import.meta.dirname, 'check-chart.ts')} --openapi ${missing} --schemas ${directory}`
  t.equal(result.exitCode, 1)
  t.match(result.stderr, /^error: Kubernetes' OpenAPI document cannot be read: ENOENT.*\n next: pass the api/)
})
