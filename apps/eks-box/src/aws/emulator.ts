import { randomUUID } from 'node:crypto'
import { request as send } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { REGION } from 'shared/box'
import { corrections } from './corrections.ts'
import { Journal } from './journal.ts'
import { type AwsRequest, type AwsResponse, operation } from './request.ts'

/**
 * How long the emulator may take to answer, in milliseconds: longer than any request it waits for on purpose
 * (ReceiveMessage, 20 s), on a slow machine too.
 */
const answerTimeout = 120_000

interface JournalEntry extends Omit<AwsRequest, 'body'> {
  /** Base64. */
  body: string
}

/**
 * The AWS emulator, made durable. It keeps everything in memory and makes its identifiers up, so a restart
 * would lose the account. Therefore each request that changes something is written to a journal, and before it
 * is sent the emulator's random numbers are seeded with its place there: sent again in the same order, the
 * same requests make the same account with the same identifiers.
 */
export class Emulator {
  readonly #address: { host: string; port: number }
  readonly #journal: Journal<JournalEntry>
  readonly #startTimeout: number
  readonly #answerTimeout: number
  #onEnd = () => {}
  #changes = 0
  #lastChange: Promise<unknown> = Promise.resolve()
  readonly #reads = new Set<Promise<unknown>>()

  /**
   * @param address where the emulator listens.
   * @param journal file of the requests that made the account what it is.
   * @param timeouts how long the emulator may take to load its modules on a busy machine, and to answer a request,
   * in milliseconds.
   */
  constructor(
    address: { host: string; port: number },
    journal: string,
    timeouts: { start?: number; answer?: number } = {},
  ) {
    this.#address = address
    this.#journal = new Journal(journal)
    this.#startTimeout = timeouts.start ?? 60_000
    this.#answerTimeout = timeouts.answer ?? answerTimeout
  }

  /**
   * Waits for the emulator and makes the account what the journal says, whatever it was before.
   *
   * @param onEnd is called when this very process of the emulator ends, and with it the account; and when it does
   * not answer a change, which it may have made or not.
   * @throws Error when it does not answer in time, or refuses what it accepted before.
   */
  async restore(onEnd: () => void): Promise<void> {
    this.#onEnd = onEnd
    await this.#answer()
    // An idle connection ends when the process at its other end does.
    connect(this.#address).on('close', onEnd).on('error', onEnd)
    await this.#replay()
  }

  async #replay(): Promise<void> {
    await this.#begin()
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

  /** Forgets all that was ever done in the account. */
  async clear(): Promise<void> {
    await this.#journal.clear()
    await this.#begin()
  }

  /** Makes the account as empty as it ever is, whatever the emulator has been through. */
  async #begin(): Promise<void> {
    await this.#control('reset')
    await this.#control('seed?a=0')
    // The default VPC, which the first look at EC2 makes, shall not draw its numbers from the first change's.
    await this.#send(firstLook)
    this.#changes = 0
  }

  /** Sends a request; resolves when it is answered and, if it changed something, in the journal. */
  async forward(request: AwsRequest): Promise<AwsResponse> {
    const response = await this.#forward(request)
    const correct = corrections.get(operation(request) ?? '')
    return correct === undefined
      ? response
      : { ...response, body: Buffer.from(correct(response.body.toString())) }
  }

  async #forward(request: AwsRequest): Promise<AwsResponse> {
    // It may wait 20 s for a message, and what it hands out is not kept.
    if (operation(request) === 'ReceiveMessage') return this.#send(request)
    // Changes one after another and alone, since the random numbers are shared by all requests.
    if (!isChange(request)) {
      const read = this.#lastChange.then(() => this.#send(request))
      const settled = read.catch(() => {}).finally(() => this.#reads.delete(settled))
      this.#reads.add(settled)
      return read
    }
    const change = Promise.all([this.#lastChange, ...this.#reads]).then(() => this.#change(request))
    this.#lastChange = change.catch(() => {})
    return change
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
        // The account has a change that the journal lacks: make it what the journal says.
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
    if (status !== 200) throw new Error(`the emulator answers ${status} to ${command}`)
  }

  async #answer(): Promise<void> {
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
    request.setTimeout(this.#answerTimeout, () => {
      request.destroy(new Error(`the emulator did not answer within ${this.#answerTimeout / 1000} s`))
    })
    request.end(body)
    return promise
  }
}

const firstLook: AwsRequest = {
  method: 'POST',
  url: '/',
  headers: {
    host: `ec2.${REGION}.amazonaws.com`,
    'content-type': 'application/x-www-form-urlencoded',
    authorization: `AWS4-HMAC-SHA256 Credential=box/20260101/${REGION}/ec2/aws4_request`,
  },
  body: Buffer.from('Action=DescribeVpcs&Version=2016-11-15'),
}

/** Whether a request may change the account. One that does not know is taken for a change. */
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

/** What AWS services answer when they cannot: clients try again. */
export function unavailable(message: string): AwsResponse {
  return {
    status: 503,
    headers: { 'content-type': 'application/json', 'x-amzn-errortype': 'ServiceUnavailableException' },
    body: Buffer.from(
      JSON.stringify({ __type: 'ServiceUnavailableException', message, requestId: randomUUID() }),
    ),
  }
}
