import { HttpProblem } from '../problems/http-problem.ts'
import { UUID } from './http-schemas.ts'
import type { Position } from './task.ts'

/** Encodes the last position of a page. Clients send it back unchanged to get the next page. */
export const toCursor = ({ createdAt, id }: Position): string =>
  Buffer.from(`${createdAt} ${id}`).toString('base64url')

const CURSOR = new RegExp(`^(\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z) (${UUID})$`)

/** @throws {@link HttpProblem} when this service cannot have returned the cursor */
export function fromCursor(cursor: string): Position {
  const [, createdAt, id] = CURSOR.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (createdAt === undefined || id === undefined || !isTime(createdAt)) {
    throw new HttpProblem(
      400,
      'The cursor is not one that this service returned: start again without a cursor',
      {
        type: 'invalid-cursor',
      },
    )
  }
  return { createdAt, id }
}

/** Whether the day exists: JavaScript reads 31 February as 3 March, and PostgreSQL has no year 0. */
function isTime(text: string): boolean {
  const time = new Date(text)
  return !Number.isNaN(time.valueOf()) && time.toISOString() === text && !text.startsWith('0000')
}
