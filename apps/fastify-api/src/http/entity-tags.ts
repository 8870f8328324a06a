/** Whether an If-Match or If-None-Match header is `*`, which matches any version. `*` is not an element of a list. */
export const matchesAny = (header: string): boolean => header.trim() === '*'

/** An entity tag, with the mark of a weak one apart. The quoted text may contain a comma or `W/`. */
const ENTITY_TAG = /(W\/)?("[^"]*")/g

/** Whether the list contains this entity tag; with `weak`, weak tags count as well (RFC 9110, 8.8.3.2). */
export function containsTag(list: string, tag: string, { weak }: { weak: boolean }): boolean {
  return [...list.matchAll(ENTITY_TAG)].some(([, mark, text]) => text === tag && (weak || mark === undefined))
}
