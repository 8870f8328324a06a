import t from 'tap'
import { compareVersions, formatReport, judge, parseVersion, requiredGo } from './doctor.ts'

const go = { name: 'Go', command: ['go', 'version'] as const, minimum: '1.26.4', remedy: 'install Go' }

t.test('versions are compared part by part, as numbers', async (t) => {
  t.ok(compareVersions('1.26.10', '1.26.9') > 0)
  t.ok(compareVersions('1.9', '1.26.4') < 0)
  t.equal(compareVersions('2.0', '2.0.0'), 0)
})

t.test('a version is found in the output of a program', async (t) => {
  t.equal(parseVersion('go version go1.26.8 linux/amd64'), '1.26.8')
  t.equal(parseVersion('v20.20.2'), '20.20.2')
  t.equal(parseVersion('Terraform v1.11.4\non linux_amd64'), '1.11.4')
  t.equal(parseVersion('GNU Make 4.3'), '4.3')
  t.equal(parseVersion('no number'), undefined)
})

t.test('a program that is new enough has no remedy', async (t) => {
  t.strictSame(judge(go, 'go version go1.27.0 linux/amd64'), { subject: 'Go', found: '1.27.0' })
})

t.test('missing and outdated programs are reported differently, both with a remedy', async (t) => {
  t.strictSame(judge(go, undefined), { subject: 'Go', found: 'missing', remedy: 'install Go' })
  t.strictSame(judge(go, 'go version go1.21.0 linux/amd64'), {
    subject: 'Go',
    found: '1.21.0, older than 1.26.4',
    remedy: 'install Go',
  })
})

t.test('the required Go is the newest that any tool module requires', async (t) => {
  t.match(requiredGo(), /^1\.\d+\.\d+$/)
  t.ok(compareVersions(requiredGo(), '1.26.0') >= 0)
})

t.test('the report shows each remedy below its finding', async (t) => {
  t.strictSame(
    formatReport([
      { subject: 'Go', found: '1.27.0' },
      { subject: 'Terraform', found: 'missing', remedy: 'install it' },
    ]),
    ['ok    Go         1.27.0', 'MISS  Terraform  missing', '                 -> install it'],
  )
})
