import { randomUUID } from 'node:crypto'
import { asSluiceError, SluiceError } from '../errors.js'
import type { NativeRateGroupStats } from '../native/binding.js'
import { expected, integer, milliseconds, nested, type Parser, type Shape, string, withDefault } from '../options.js'
import { within } from '../within.js'
import { RateLimit } from './rate-limit.js'
import type { RateLimitStore } from './rate-limit-store.js'

/** How a {@link RateLimitGroup} shares its limit with groups of other processes. */
export interface SharedBudget {
  /** Where they agree: `new RedisRateLimitStore(…)` of `sluice/redis`, or one of your own. */
  store: RateLimitStore
  /** Name of the budget; groups of the same name and store share it. */
  name: string
  /** How often a lease is renewed, 20 to 60 000: one question serves all ticks in between. Default 200. */
  sliceMs?: number
  /** How long a question may take before the store counts as unreachable. Default 1 000. */
  timeoutMs?: number
  /** How long a sharer that is not heard of keeps its part. Default 5 000. */
  forgetMs?: number
  /** Until the first lease the group takes this part of the limit: one by so many. Default 1: all of it. */
  expectedSharers?: number
}

const storeParser: Parser<RateLimitStore> = {
  allowed: 'an object with the functions lease() and release()',
  parse(value, option) {
    const store = value as Partial<RateLimitStore> | null
    if (typeof store !== 'object' || typeof store?.lease !== 'function' || typeof store?.release !== 'function') {
      throw expected(this.allowed, value, option)
    }
    return store as RateLimitStore
  },
}

const sharedBudgetOptions = {
  store: storeParser,
  name: string({ maxLength: 200 }),
  sliceMs: withDefault(milliseconds({ min: 20, max: 60_000 }), 200),
  timeoutMs: withDefault(milliseconds({ min: 1 }), 1000),
  forgetMs: withDefault(milliseconds({ min: 100 }), 5000),
  expectedSharers: integer({ min: 1, max: 1_000_000, default: 1 }),
} satisfies Shape<SharedBudget>

export const sharedBudgetParser = nested(sharedBudgetOptions)

/** How the budget that a group shares with others stands. */
export interface SharedBudgetStats {
  /** `'starting'`: no lease yet; `'unreachable'`: the store does not answer, and the last part goes on. */
  state: 'starting' | 'leased' | 'unreachable' | 'closed'
  /** The part in force: bytes per slice that this group may read; Infinity without a limit. */
  readBytesPerSlice: number
  /** The part in force: bytes per slice that this group may write. */
  writeBytesPerSlice: number
  /** How many shared the budget at the last lease. */
  sharers: number
  /** Leases so far. */
  leases: number
  /** Questions so far that the store did not answer. */
  failures: number
  /** Why the store is unreachable. */
  error?: SluiceError
}

/** What a keeper needs of its group. */
export interface BudgetGroup {
  /** Puts a part in force; `credit` is what whole bytes per tick leave over. */
  apply(part: RateLimit, credit: { readBytes: number; writeBytes: number }): void
  stats(): NativeRateGroupStats
}

interface Part {
  readBytes: number
  writeBytes: number
}

/** Renews one group's lease once per slice. A part stays in force until the next one, so an unreachable store changes
 *  nothing but that it is told of. Internal. */
export class SharedBudgetKeeper {
  private readonly sharer = randomUUID()
  private state: SharedBudgetStats['state'] = 'starting'
  private part: Part
  private sharers = 0
  private leases = 0
  private failures = 0
  private error: SluiceError | undefined
  private used: Part = { readBytes: 0, writeBytes: 0 }
  private timer: NodeJS.Timeout | undefined

  constructor(
    private readonly options: Required<SharedBudget>,
    private limit: RateLimit,
    private readonly group: BudgetGroup,
  ) {
    const { expectedSharers } = options
    const whole = this.perSlice()
    this.part = { readBytes: whole.readBytes / expectedSharers, writeBytes: whole.writeBytes / expectedSharers }
    this.putInForce(false)
    void this.renew()
  }

  stats(): SharedBudgetStats {
    return {
      state: this.state,
      readBytesPerSlice: this.part.readBytes,
      writeBytesPerSlice: this.part.writeBytes,
      sharers: this.sharers,
      leases: this.leases,
      failures: this.failures,
      ...(this.error && { error: this.error }),
    }
  }

  /** The limit of all together has changed; this group's part does with the next lease, and shrinks at once. */
  configure(limit: RateLimit): void {
    this.limit = limit
    const whole = this.perSlice()
    this.part = {
      readBytes: Math.min(this.part.readBytes, whole.readBytes),
      writeBytes: Math.min(this.part.writeBytes, whole.writeBytes),
    }
    this.putInForce(false)
  }

  close(): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    clearTimeout(this.timer)
    // Without it the others have the part when it is forgotten.
    this.options.store.release(this.options.name, this.sharer).catch(() => {})
  }

  private async renew(): Promise<void> {
    const { store, name, sliceMs, forgetMs, timeoutMs } = this.options
    const perSecond = 1000 / this.limit.tickMs
    const rates = {
      readBytesPerSecond: this.limit.readBytesPerTick * perSecond,
      writeBytesPerSecond: this.limit.writeBytesPerTick * perSecond,
    }
    const begun = performance.now()
    try {
      const question = store.lease({ name, sharer: this.sharer, rates, demand: this.demand(), sliceMs, forgetMs })
      const { readBytes, writeBytes, sharers } = await within(question, timeoutMs, () => {
        const detail = `the rate limit store did not answer within ${timeoutMs} ms`
        return new SluiceError('STORE_UNREACHABLE', { detail })
      })
      if (this.isClosed()) return
      this.part = { readBytes, writeBytes }
      this.sharers = sharers
      this.leases++
      this.state = 'leased'
      this.error = undefined
      this.putInForce(true)
    } catch (thrown) {
      if (this.isClosed()) return
      this.failures++
      const told = this.state === 'unreachable'
      this.state = 'unreachable'
      this.error = asSluiceError(thrown, 'STORE_UNREACHABLE')
      // Once per outage, not once per slice.
      if (!told) process.emitWarning(this.error)
    }
    const wait = Math.max(1, sliceMs - (performance.now() - begun))
    this.timer = setTimeout(() => void this.renew(), wait)
    this.timer.unref()
  }

  private isClosed(): boolean {
    return this.state === 'closed'
  }

  // What the last slice took, and some more, so that a growing demand is seen; all there is, where it was not enough.
  private demand(): Part {
    const stats = this.group.stats()
    const used = {
      readBytes: stats.totalRead - this.used.readBytes,
      writeBytes: stats.totalWritten - this.used.writeBytes,
    }
    this.used = { readBytes: stats.totalRead, writeBytes: stats.totalWritten }
    const of = (bytes: number, part: number, short: boolean) =>
      short || bytes >= part ? Infinity : Math.max(0, bytes) * 1.25
    return {
      readBytes: of(used.readBytes, this.part.readBytes, stats.waitingToRead > 0 || stats.readScarce > 0),
      writeBytes: of(used.writeBytes, this.part.writeBytes, stats.waitingToWrite > 0 || stats.writeScarce > 0),
    }
  }

  private perSlice(): Part {
    const slices = this.options.sliceMs / this.limit.tickMs
    return { readBytes: this.limit.readBytesPerTick * slices, writeBytes: this.limit.writeBytesPerTick * slices }
  }

  private putInForce(leased: boolean): void {
    const ticks = this.options.sliceMs / this.limit.tickMs
    const flow = (bytes: number, wholeRate: number, wholeBurst: number) => {
      if (wholeRate === Infinity) return { credit: 0 }
      const rate = Math.max(1, Math.min(wholeRate, Math.floor(bytes / ticks)))
      // The burst is shared as the rate is.
      const burst = Math.max(rate, Math.floor(wholeBurst * (rate / wholeRate)))
      return { rate, burst, credit: leased ? Math.max(0, Math.floor(bytes - rate * ticks)) : 0 }
    }
    const read = flow(this.part.readBytes, this.limit.readBytesPerTick, this.limit.readBurstBytes)
    const write = flow(this.part.writeBytes, this.limit.writeBytesPerTick, this.limit.writeBurstBytes)
    const part = new RateLimit({
      ...{ readBytesPerTick: read.rate, readBurstBytes: read.burst },
      ...{ writeBytesPerTick: write.rate, writeBurstBytes: write.burst },
      tickMs: this.limit.tickMs,
    })
    this.group.apply(part, { readBytes: read.credit, writeBytes: write.credit })
  }
}
