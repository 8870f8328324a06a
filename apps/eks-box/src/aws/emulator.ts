import { randomUUID } from 'node:crypto'
import { request as send } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { REGION } from 'shared/box'
import { corrections } from './corrections.ts'
import { Journal } from './journal.ts'
import { type AwsRequest, type AwsResponse, isForm, operation } from './request.ts'

/** Timeout of a request to the emulator, in milliseconds: long enough for a slow machine. */
const responseTimeout = 120_000

/** Interval at which a queue is read while a client waits for a message, in milliseconds. */
const messageInterval = 500

interface JournalEntry extends Omit<AwsRequest, 'body'> {
  /** Base64. */
  body: string
}

/**
 * Makes the AWS emulator durable. The emulator keeps the account in memory and draws its identifiers at random, so a
 * restart would lose it. Therefore, every request that changes something is appended to a journal, and the emulator's
 * random generator is seeded with the request's position before it is sent. Replaying the journal creates the same
 * account with the same identifiers.
 */
export class Emulator {
  readonly #address: { host: string; port: number }
  readonly #journal: Journal<JournalEntry>
  readonly #startTimeout: number
  readonly #responseTimeout: number
  #onEnd = () => {}
  #changes = 0
  #lastChange: Promise<unknown> = Promise.resolve()
  readonly #reads = new Set<Promise<unknown>>()

  /**
   * @param address the emulator's address.
   * @param journal path of the journal.
   * @param timeouts for the emulator's start, when it loads its modules, and for one response, in milliseconds.
   */
  constructor(
    address: { host: string; port: number },
    journal: string,
    timeouts: { start?: number; response?: number } = {},
  ) {
    this.#address = address
    this.#journal = new Journal(journal)
    this.#startTimeout = timeouts.start ?? 60_000
    this.#responseTimeout = timeouts.response ?? responseTimeout
  }

  /**
   * Waits for the emulator, resets it, and replays the journal.
   *
   * @param onEnd called when this process of the emulator ends and the account with it, and when the emulator does not
   * respond to a change, so that it is unknown whether it made the change.
   * @throws Error when the emulator does not respond in time, or rejects a request that it accepted before.
   */
  async restore(onEnd: () => void): Promise<void> {
    this.#onEnd = onEnd
    await this.#waitUntilReady()
    // An idle connection closes when the emulator's process ends.
    connect(this.#address).on('close', onEnd).on('error', onEnd)
    await this.#replay()
  }

  async #replay(): Promise<void> {
    await this.#reset()
    for (const entry of await this.#journal.read()) {
      await this.#control(`seed?a=${this.#changes + 1}`)
      const { status, body } = await this.#send({ ...entry, body: Buffer.from(entry.body, 'base64') })
      if (status >= 400) {
        throw new Error(
          `the emulator refused ${describe(entry)}, which it accepted before: ${status} ${body.toString().slice(0, 500)}`,
        )
      }
      this.#changes++
    }
  }

  /** Number of changes of the account so far. */
  get changes(): number {
    return this.#changes
  }

  /** Empties the account and the journal. */
  async clear(): Promise<void> {
    await this.#journal.clear()
    await this.#reset()
  }

  /** Resets the emulator to the same empty account each time. */
  async #reset(): Promise<void> {
    await this.#control('reset')
    await this.#control('seed?a=0')
    // The first EC2 request creates the default VPC. It must not draw random numbers that belong to the first change.
    await this.#send(describeVpcs)
    this.#changes = 0
  }

  /** Sends a request; resolves with the response, after a change has been written to the journal. */
  async forward(request: AwsRequest): Promise<AwsResponse> {
    const response = await this.#forward(request)
    const correct = corrections.get(operation(request) ?? '')
    return correct === undefined
      ? response
      : { ...response, body: Buffer.from(correct(response.body.toString())) }
  }

  async #forward(request: AwsRequest): Promise<AwsResponse> {
    if (operation(request) === 'ReceiveMessage') return this.#receiveMessage(request)
    if (isMessage(request)) return this.#alone(() => this.#send(request))
    // A change runs alone, because all requests draw from the same random generator.
    if (!isChange(request)) {
      const read = this.#lastChange.then(() => this.#send(request))
      const settled = read.catch(() => {}).finally(() => this.#reads.delete(settled))
      this.#reads.add(settled)
      return read
    }
    return this.#alone(() => this.#change(request))
  }

  /** Runs an action while the emulator handles no other request. */
  #alone<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = Promise.all([this.#lastChange, ...this.#reads]).then(action)
    this.#lastChange = result.catch(() => {})
    return result
  }

  /**
   * Waits for messages as long as the request says. The emulator itself must not wait, because it would draw random
   * numbers during a change.
   */
  async #receiveMessage(request: AwsRequest): Promise<AwsResponse> {
    const { seconds, immediate } = withoutWait(request)
    const deadline = Date.now() + seconds * 1000
    while (true) {
      const response = await this.#alone(() => this.#send(immediate))
      const isEmpty = !/"ReceiptHandle"|<ReceiptHandle>/.test(response.body.toString())
      if (response.status >= 400 || !isEmpty || Date.now() >= deadline) return response
      await sleep(messageInterval)
    }
  }

  async #change(request: AwsRequest): Promise<AwsResponse> {
    await this.#control(`seed?a=${this.#changes + 1}`)
    const response = await this.#send(request).catch((error: unknown) => {
      this.#onEnd()
      throw error
    })
    if (response.status < 400) {
      const entry: JournalEntry = { ...request, body: request.body.toString('base64') }
      try {
        await this.#journal.append(entry)
      } catch (error) {
        // The account has a change that is not in the journal: replaying the journal removes it.
        await this.#replay()
        throw error
      }
      this.#changes++
    }
    return response
  }

  async #control(command: string): Promise<void> {
    const { status } = await this.#send({
      method: 'POST',
      url: `/moto-api/${command}`,
      headers: { host: 'localhost' },
      body: Buffer.alloc(0),
    })
    if (status !== 200) throw new Error(`the emulator responded with ${status} to ${command}`)
  }

  async #waitUntilReady(): Promise<void> {
    const deadline = Date.now() + this.#startTimeout
    while (true) {
      try {
        return await this.#control(`seed?a=0`)
      } catch (error) {
        if (Date.now() > deadline) throw error
        await sleep(100)
      }
    }
  }

  #send({ method, url, headers, body }: AwsRequest): Promise<AwsResponse> {
    const { promise, resolve, reject } = Promise.withResolvers<AwsResponse>()
    const { connection: _connection, 'transfer-encoding': _encoding, ...kept } = headers
    const request = send(
      { ...this.#address, method, path: url, headers: { ...kept, 'content-length': body.length } },
      async (response) => {
        try {
          const chunks = (await response.toArray()) as Buffer[]
          resolve({
            status: response.statusCode ?? 500,
            headers: response.headers,
            body: Buffer.concat(chunks),
          })
        } catch (error) {
          reject(error)
        }
      },
    )
    request.on('error', reject)
    request.setTimeout(this.#responseTimeout, () => {
      request.destroy(new Error(`the emulator did not respond within ${this.#responseTimeout / 1000} s`))
    })
    request.end(body)
    return promise
  }
}

/**
 * Whether a request sends or handles messages. These are not in the journal: they are lost when the emulator ends.
 * Repeating them would deliver old messages again, and the emulator would refuse the receipts of others.
 */
function isMessage(request: AwsRequest): boolean {
  return /^(PutEvents|PurgeQueue|(Send|Delete|Receive)Message(Batch)?|ChangeMessageVisibility(Batch)?)$/.test(
    operation(request) ?? '',
  )
}

/** How long ReceiveMessage waits, in seconds, and the request without the wait. */
function withoutWait(request: AwsRequest): { seconds: number; immediate: AwsRequest } {
  if (isForm(request)) {
    const parameters = new URLSearchParams(request.body.toString())
    const seconds = Number(parameters.get('WaitTimeSeconds') ?? 0)
    parameters.set('WaitTimeSeconds', '0')
    return { seconds, immediate: { ...request, body: Buffer.from(parameters.toString()) } }
  }
  const body = JSON.parse(request.body.toString()) as { WaitTimeSeconds?: number }
  return {
    seconds: body.WaitTimeSeconds ?? 0,
    immediate: { ...request, body: Buffer.from(JSON.stringify({ ...body, WaitTimeSeconds: 0 })) },
  }
}

const describeVpcs: AwsRequest = {
  method: 'POST',
  url: '/',
  headers: {
    host: `ec2.${REGION}.amazonaws.com`,
    'content-type': 'application/x-www-form-urlencoded',
    authorization: `AWS4-HMAC-SHA256 Credential=box/20260101/${REGION}/ec2/aws4_request`,
  },
  body: Buffer.from('Action=DescribeVpcs&Version=2016-11-15'),
}

/** Whether a request may change the account. An unknown operation counts as a change. */
export function isChange(request: AwsRequest): boolean {
  const name = operation(request)
  if (name === undefined) return !['GET', 'HEAD', 'OPTIONS'].includes(request.method)
  return !/^(Describe|Get|List|Head|BatchGet|BatchCheck|Filter|Lookup|Simulate|Decode|Encrypt|Decrypt|GenerateDataKey)/.test(
    name,
  )
}

function describe(entry: JournalEntry): string {
  return operation({ ...entry, body: Buffer.from(entry.body, 'base64') }) ?? `${entry.method} ${entry.url}`
}

/** The response of an AWS service that is unavailable; clients retry. */
export function unavailable(message: string): AwsResponse {
  return {
    status: 503,
    headers: { 'content-type': 'application/json', 'x-amzn-errortype': 'ServiceUnavailableException' },
    body: Buffer.from(
      JSON.stringify({ __type: 'ServiceUnavailableException', message, requestId: randomUUID() }),
    ),
  }
}
