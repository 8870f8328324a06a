import { randomUUID } from 'node:crypto'
import { Type } from 'typebox'
import type { Api } from './api.ts'
import { EksException } from './exception.ts'
import { Paging, type Update } from './model.ts'
import { now, page, type State, settlesAt, toResponse } from './store.ts'

const Name = Type.Object({ name: Type.String() })
const Owner = { nodegroupName: Type.Optional(Type.String()), addonName: Type.Optional(Type.String()) }

/** Updates of the cluster, its node groups and its add-ons. */
export function updates({ app, store }: Api): void {
  const updatesOf = (query: { name: string; nodegroupName?: string; addonName?: string }) => {
    store.cluster(query.name)
    const owner = query.nodegroupName ?? query.addonName
    return store.state.updates.filter((update) => update.of === owner)
  }

  app.get(
    '/clusters/:name/updates',
    { schema: { params: Name, querystring: Type.Object({ ...Paging, ...Owner }) } },
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
        querystring: Type.Object(Owner),
      },
    },
    async ({ params, query }) => {
      const update = updatesOf({ ...query, name: params.name }).find(({ id }) => id === params.id)
      if (update === undefined) {
        throw new EksException('ResourceNotFoundException', `No update found for ID: ${params.id}`, {
          clusterName: params.name,
        })
      }
      return { update: toUpdateResponse(update) }
    },
  )
}

/**
 * Records an update that begins now.
 *
 * @param params the changed settings, by the parameter types of the service model.
 * @param of name of the updated node group or add-on, whose update lasts until `settleUpdates` or `failUpdates`;
 * undefined for the cluster.
 * @returns the response to the request that began the update.
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
    ...(of === undefined ? { settlesAt: settlesAt() } : { of }),
  }
  state.updates.push(update)
  return { update: toUpdateResponse(update) }
}

/** Completes the updates of a node group or an add-on. */
export function settleUpdates(state: State, of: string): void {
  for (const update of pending(state, of)) update.settlesAt = settlesAt()
}

/** Ends the updates of a node group or an add-on with an error. */
export function failUpdates(state: State, of: string, errorCode: string, errorMessage: string): void {
  for (const update of pending(state, of)) {
    update.status = 'Failed'
    update.errors = [{ errorCode, errorMessage }]
  }
}

function pending({ updates }: State, name: string): Update[] {
  return updates.filter(
    ({ of, status, settlesAt }) => of === name && status === 'InProgress' && settlesAt === undefined,
  )
}

function toUpdateResponse(update: Update) {
  const { of: _of, ...response } = toResponse(update)
  return response
}
