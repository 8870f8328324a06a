import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import t from 'tap'

const root = join(REPOSITORY_ROOT, 'infrastructure-hcl')

/** Providers of each stack; those of `cluster` beside aws belong to the eks module. */
const providers = {
  bootstrap: ['aws'],
  cluster: ['aws', 'cloudinit', 'null', 'time', 'tls'],
  platform: ['helm'],
}

for (const [stack, expected] of Object.entries(providers)) {
  t.test(`the lock file of ${stack} pins its providers, for every platform`, async (t) => {
    // Terraform reads the file itself, and asks nobody.
    const { stdout } = await execa('terraform', ['version', '-json'], {
      cwd: join(root, stack),
      env: { CHECKPOINT_DISABLE: 'true' },
    })
    const { provider_selections: selections } = JSON.parse(stdout) as {
      provider_selections: Record<string, string>
    }
    const name = (provider: string) => `registry.terraform.io/hashicorp/${provider}`
    t.strictSame(Object.keys(selections).sort(), expected.map(name).sort())

    const text = readFileSync(join(root, stack, '.terraform.lock.hcl'), 'utf8')
    for (const block of text.split(/^provider /m).slice(1)) {
      const count = (kind: string) => block.match(new RegExp(`"${kind}:[^"]+",`, 'g'))?.length ?? 0
      t.ok(count('zh') >= 12, 'checksums of the published packages, as signed, of all platforms')
      t.ok(count('h1') >= 2, 'and those by which an unpacked one is checked')
    }
  })
}

t.test('the stacks with resources of AWS agree on its provider', async (t) => {
  const versions = ['bootstrap', 'cluster'].map((stack) => {
    const text = readFileSync(join(root, stack, '.terraform.lock.hcl'), 'utf8')
    return /hashicorp\/aws" \{\n {2}version {5}= "([^"]+)"/.exec(text)?.[1]
  })
  t.equal(new Set(versions).size, 1, versions.join(', '))
})
