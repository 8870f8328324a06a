import t from 'tap'
import { withOnlyProvider } from './external-secrets.ts'

t.test('only the provider of AWS remains registered', async (t) => {
  const providers = `package register

import (
	// All providers.
	_ "github.com/external-secrets/external-secrets/pkg/provider/alibaba"
	_ "github.com/external-secrets/external-secrets/pkg/provider/aws"
	_ "github.com/external-secrets/external-secrets/pkg/provider/azure/keyvault"
)
`
  t.equal(
    withOnlyProvider(providers),
    `package register

import (
	// All providers.
	_ "github.com/external-secrets/external-secrets/pkg/provider/aws"
)
`,
  )
})
