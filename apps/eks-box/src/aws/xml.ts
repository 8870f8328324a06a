import { randomUUID } from 'node:crypto'
import type { AwsResponse } from './request.ts'

/** A successful response of EC2. */
export function xmlResponse(operation: string, content: string): AwsResponse {
  const requestId = randomUUID()
  return {
    status: 200,
    headers: { 'content-type': 'text/xml;charset=UTF-8', 'x-amzn-requestid': requestId },
    body: Buffer.from(
      `<?xml version="1.0" encoding="UTF-8"?>\n` +
        `<${operation}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">` +
        `<requestId>${requestId}</requestId>${content}</${operation}Response>`,
    ),
  }
}

/** Removes those items of a list that `keep` rejects. Lists of the same kind inside an item are left as they are. */
export function filterList(xml: string, list: string, item: string, keep: (item: string) => boolean): string {
  const open = `<${list}>`
  const start = xml.indexOf(open)
  if (start === -1) return xml
  const items: string[] = []
  let depth = 0
  let begin = start + open.length
  let end = begin
  const tag = new RegExp(`<(/?)${item}>|</${list}>`, 'g')
  tag.lastIndex = begin
  for (let match = tag.exec(xml); match !== null; match = tag.exec(xml)) {
    if (match[1] === undefined) {
      if (depth === 0) break
      continue
    }
    if (match[1] === '' && depth++ === 0) begin = match.index
    if (match[1] === '/' && --depth === 0) {
      end = tag.lastIndex
      items.push(xml.slice(begin, end))
    }
  }
  if (items.length === 0) return xml
  return xml.slice(0, start + open.length) + items.filter(keep).join('') + xml.slice(end)
}
