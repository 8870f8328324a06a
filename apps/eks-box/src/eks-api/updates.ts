import { randomUUID } from 'node:crypto'
import { Type } from 'typebox'
import type { Api } from './api.ts'
import { EksFailure } from './failure.ts'
import { Paging, type Update } from './model.ts'
import { now, page, type State, settlesAt, shown } from './store.ts'

const Name = Type.Object({ name: Type.String() })
const Of = { nodegroupName: Type.Optional(Type.String()), addonName: Type.Optional(Type.String()) }

/** The changes that clusters, node groups and add-ons have gone through. */
export function updates({ app, store }: Api): void {
  const updatesOf = ({ name, ...of }: { name: string; nodegroupName?: string; addonName?: string }) => {
    store.cluster(name)
    const owner = of.nodegroupName ?? of.addonName
    return store.state.updates.filter((update) => update.of === owner)
  }

  app.get(
    '/clusters/:name/updates',
    { schema: { params: Name, querystring: Type.Object({ ...Paging, ...Of }) } },
    async ({ params, query }) => {
      const ids = updatesOf({ ...params, ...query }).map(({ id }) => id)
      const { items, nextToken } = page(ids, query)
      return { updateIds: items, nextToken }
    },
  )

  app.get(
    '/clusters/:name/updates/:id',
    {
      schema: {
        params: Type.Object({ name: Type.String(), id: Type.String() }),
        querystring: Type.Object(Of),
      },
    },
    async ({ params, query }) => {
      const update = updatesOf({ ...query, name: params.name }).find(({ id }) => id === params.id)
      if (update === undefined) {
        throw new EksFailure('ResourceNotFoundException', `No update found for ID: ${params.id}`, {
          clusterName: params.name,
        })
      }
      return { update: shownUpdate(update) }
    },
  )
}

/**
 * Records an update that begins now.
 *
 * @param params what changes, by the parameter types of the service model.
 * @param of names the node group or add-on the update is of.
 * @returns the answer to the request that began it.
 */
export function beginUpdate(
  state: State,
  type: string,
  params: Readonly<Record<string, unknown>>,
  of?: string,
) {
  const update: Update = {
    id: randomUUID(),
    status: 'InProgress',
    type,
    params: Object.entries(params)
      .filter(([, value]) => value !== undefined)
      .map(([type, value]) => ({ type, value: typeof value === 'string' ? value : JSON.stringify(value) })),
    createdAt: now(),
    errors: [],
    settlesAt: settlesAt(),
    ...(of === undefined ? {} : { of }),
  }
  state.updates.push(update)
  return { update: shownUpdate(update) }
}

function shownUpdate(update: Update) {
  const { of: _of, ...visible } = shown(update)
  return visible
}
