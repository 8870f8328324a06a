import type { ConfigurationContext } from './configuration.ts'
import { checkTarget } from './health-check.ts'
import type { LoadBalancingState } from './state.ts'
import { type TargetHealth, Targets } from './targets.ts'

export interface ControllerOptions {
  readState: () => Promise<LoadBalancingState>
  addresses: {
    add: (dnsNames: readonly string[]) => Promise<void>
    retain: (dnsNames: readonly string[]) => Promise<void>
    of: (dnsName: string) => string
  }
  /** @throws Error when there is no such certificate. */
  certificateFile: (arn: string) => Promise<string>
  /** Applies a configuration to HAProxy. */
  apply: (state: LoadBalancingState, context: ConfigurationContext) => Promise<void>
  socketPrefix: string
}

/** First and longest delay before another attempt after an error, in milliseconds. The delay doubles. */
const retryDelays = { first: 1000, longest: 60_000 }

/** Keeps HAProxy in step with the load balancers of the account and the health of their targets. */
export class Controller {
  readonly #options: ControllerOptions
  readonly #targets: Targets
  #state: LoadBalancingState = { loadBalancers: [], targetGroups: [] }
  #certificates = new Map<string, string>()
  /** Whether the account has changed since the last attempt to read it. */
  #isStale = false
  /** Whether a target has changed since the last attempt to apply the state. */
  #isDirty = false
  #work: Promise<void> | undefined
  #retry: NodeJS.Timeout | undefined
  #retryDelay = retryDelays.first

  constructor(options: ControllerOptions) {
    this.#options = options
    this.#targets = new Targets(checkTarget, () => {
      this.#isDirty = true
      this.#run()
    })
  }

  /** Reads the account again, because it may have changed. Resolves after the attempt to apply the change. */
  async refresh(): Promise<void> {
    this.#isStale = true
    await this.#run()
  }

  /** The health of a group's targets, after all changes so far; undefined for an unknown group. */
  async healthOf(targetGroupArn: string): Promise<TargetHealth[] | undefined> {
    await this.#work
    return this.#targets.healthOf(targetGroupArn)
  }

  /** Ends all health checks. */
  close(): void {
    clearTimeout(this.#retry)
    this.#targets.close()
  }

  #run(): Promise<void> {
    this.#work ??= this.#synchronize()
    return this.#work
  }

  async #synchronize(): Promise<void> {
    try {
      while (this.#isStale || this.#isDirty) {
        if (this.#isStale) {
          this.#isStale = false
          await this.#read()
        }
        this.#isDirty = false
        await this.#apply()
      }
      this.#retryDelay = retryDelays.first
    } catch (error) {
      console.error(error instanceof Error ? error.message : error)
      this.#isStale = false
      clearTimeout(this.#retry)
      this.#retry = setTimeout(() => this.refresh(), this.#retryDelay)
      this.#retryDelay = Math.min(2 * this.#retryDelay, retryDelays.longest)
    } finally {
      this.#work = undefined
    }
  }

  async #read(): Promise<void> {
    const state = await this.#options.readState()
    const certificates = new Map<string, string>()
    for (const arn of new Set(
      state.loadBalancers.flatMap(({ listeners }) => listeners.flatMap((listener) => listener.certificates)),
    )) {
      try {
        certificates.set(arn, await this.#options.certificateFile(arn))
      } catch (error) {
        // Only the listeners that have no other certificate are left out.
        console.error(`certificate ${arn}: ${error instanceof Error ? error.message : error}`)
      }
    }
    this.#certificates = certificates
    this.#state = state
    this.#targets.update(state)
  }

  async #apply(): Promise<void> {
    const { addresses, apply, socketPrefix } = this.#options
    const names = this.#state.loadBalancers.map(({ dnsName }) => dnsName)
    await addresses.add(names)
    await apply(this.#state, {
      addressOf: ({ dnsName }) => addresses.of(dnsName),
      certificateFile: (arn) => this.#certificates.get(arn),
      serversOf: (arn) => this.#targets.serversOf(arn),
      socketPrefix,
    })
    await addresses.retain(names)
  }
}
