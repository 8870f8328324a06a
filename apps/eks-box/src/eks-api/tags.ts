import { Type } from 'typebox'
import type { Api } from './api.ts'
import { EksException } from './exception.ts'
import { Tags } from './model.ts'
import type { State } from './store.ts'

const Resource = Type.Object({ arn: Type.String() })

/** Tags of all kinds of resources, by ARN. */
export function tags({ app, store }: Api): void {
  const find = (arn: string): { tags: Record<string, string> } => {
    const found = tagged(store.state).find((resource) => resource.arn === arn)
    if (found === undefined) {
      throw new EksException('NotFoundException', `The specified resource could not be found: ${arn}`)
    }
    return found.resource
  }

  app.get('/tags/:arn', { schema: { params: Resource } }, async ({ params }) => ({
    tags: find(params.arn).tags,
  }))

  app.post(
    '/tags/:arn',
    { schema: { params: Resource, body: Type.Object({ tags: Tags }, { additionalProperties: false }) } },
    async ({ params, body }) => {
      const resource = find(params.arn)
      return store.change(() => {
        Object.assign(resource.tags, body.tags)
        return {}
      })
    },
  )

  const Keys = Type.Object({ tagKeys: Type.Union([Type.Array(Type.String()), Type.String()]) })
  app.delete('/tags/:arn', { schema: { params: Resource, querystring: Keys } }, async ({ params, query }) => {
    const resource = find(params.arn)
    const removed = [query.tagKeys].flat()
    return store.change(() => {
      resource.tags = Object.fromEntries(
        Object.entries(resource.tags).filter(([key]) => !removed.includes(key)),
      )
      return {}
    })
  })
}

function tagged(state: State): { arn: string; resource: { tags: Record<string, string> } }[] {
  return [
    ...(state.cluster === undefined ? [] : [{ arn: state.cluster.arn, resource: state.cluster }]),
    ...state.accessEntries.map((resource) => ({ arn: resource.accessEntryArn, resource })),
    ...state.addons.map((resource) => ({ arn: resource.addonArn, resource })),
    ...state.nodegroups.map((resource) => ({ arn: resource.nodegroupArn, resource })),
    ...state.podIdentityAssociations.map((resource) => ({ arn: resource.associationArn, resource })),
  ]
}
