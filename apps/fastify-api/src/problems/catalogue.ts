/**
 * Every problem that a client can get, by the name that clients distinguish it by; the names never change. `help` says
 * what a client can do about it. docs/service.md lists them.
 */
export const PROBLEMS = {
  'malformed-request': {
    status: 400,
    title: 'Bad Request',
    help: 'Send valid HTTP, a URL that can be decoded and JSON.',
  },
  'invalid-parameters': { status: 400, title: 'Invalid Parameters', help: '`errors` points to them.' },
  'invalid-cursor': { status: 400, title: 'Invalid Cursor', help: 'Start again without a cursor.' },
  'not-found': { status: 404, title: 'Not Found', help: 'The service has no such route.' },
  'task-not-found': { status: 404, title: 'Task Not Found', help: 'It never existed or has been removed.' },
  'method-not-allowed': { status: 405, title: 'Method Not Allowed', help: '`Allow` lists the methods.' },
  'request-timeout': { status: 408, title: 'Request Timeout', help: 'Send the whole request within 30 s.' },
  'task-changed': { status: 412, title: 'Task Changed', help: 'Read the task again, then retry.' },
  'body-too-large': { status: 413, title: 'Payload Too Large', help: 'Send at most 64 KiB.' },
  'unsupported-media-type': {
    status: 415,
    title: 'Unsupported Media Type',
    help: 'Send `application/json`.',
  },
  'invalid-body': { status: 422, title: 'Invalid Body', help: '`errors` points to what is wrong.' },
  'idempotency-key-reused': {
    status: 422,
    title: 'Idempotency Key Reused',
    help: 'The key was used for a different task: use a new key.',
  },
  'if-match-missing': { status: 428, title: 'Precondition Required', help: 'Send the `ETag` as `If-Match`.' },
  'rate-limited': { status: 429, title: 'Too Many Requests', help: 'Wait as long as `Retry-After` says.' },
  'headers-too-large': {
    status: 431,
    title: 'Request Header Fields Too Large',
    help: 'Send fewer or shorter headers.',
  },
  'internal-error': { status: 500, title: 'Internal Server Error', help: 'Report it with the `requestId`.' },
  overloaded: { status: 503, title: 'Service Unavailable', help: 'Wait as long as `Retry-After` says.' },
  'store-unavailable': {
    status: 503,
    title: 'Tasks Unavailable',
    help: 'The database does not answer. Wait as long as `Retry-After` says.',
  },
} as const

export type ProblemName = keyof typeof PROBLEMS
