import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { REPOSITORY_ROOT } from 'shared/environment'
import t from 'tap'

const root = join(REPOSITORY_ROOT, 'infrastructure-hcl')

/** Each stack's providers. The EKS module requires those of `cluster` other than aws. */
const providers = {
  bootstrap: ['aws'],
  cluster: ['aws', 'cloudinit', 'null', 'time', 'tls'],
  data: ['aws'],
  platform: ['helm'],
}

for (const [stack, expected] of Object.entries(providers)) {
  t.test(`the lock file of ${stack} pins its providers for every platform`, async (t) => {
    // Terraform reads the lock file itself, without network access.
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
      t.ok(count('zh') >= 12, 'signed checksums of the published packages, for all platforms')
      t.ok(count('h1') >= 2, 'checksums of the unpacked packages')
    }
  })
}

t.test('the stacks that use the AWS provider pin the same version', async (t) => {
  const versions = ['bootstrap', 'cluster', 'data'].map((stack) => {
    const text = readFileSync(join(root, stack, '.terraform.lock.hcl'), 'utf8')
    return /hashicorp\/aws" \{\n {2}version {5}= "([^"]+)"/.exec(text)?.[1]
  })
  t.equal(new Set(versions).size, 1, versions.join(', '))
})
