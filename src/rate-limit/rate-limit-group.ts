import { SluiceError } from '../errors.js'
import { type NativeRateGroup, type NativeRateGroupStats, native } from '../native/binding.js'
import { expected, integer, optional, type Parser, parse, type Shape, withDefault } from '../options.js'
import { type RateLimit, rateLimitParser } from './rate-limit.js'
import { type SharedBudget, SharedBudgetKeeper, type SharedBudgetStats, sharedBudgetParser } from './shared-budget.js'

/** Where a group's time comes from: the system, or one simulated runtime. Internal. */
export interface RateClock {
  readonly isVirtual: boolean
  nowMs(): number
}

/** Options of {@link RateLimitGroup}. */
export interface RateLimitGroupOptions {
  /** What all members together may read and write. */
  limit: RateLimit
  /** The group that this one is a member of, e.g. the process's of a listener's. Default: none. */
  parent?: RateLimitGroup
  /** Bytes that a member is granted at least, so that many members take turns instead of trickling; the rates bound it.
   *  Default 64. Source: LE-25. */
  minShareBytes?: number
  /** Shares the limit with other processes or machines. Default: the limit is this process's alone. */
  shared?: SharedBudget
}

const bytes = integer({ min: 0, max: Number.MAX_SAFE_INTEGER })

export const groupParser: Parser<RateLimitGroup> = {
  allowed: 'a RateLimitGroup',
  parse(value, option) {
    if (!(value instanceof RateLimitGroup)) throw expected(this.allowed, value, option)
    return value
  },
}

const groupOptions = {
  limit: rateLimitParser,
  // Not yet defined here, hence the detour.
  parent: optional<RateLimitGroup>({
    allowed: groupParser.allowed,
    parse: (value, option) => groupParser.parse(value, option),
  }),
  minShareBytes: withDefault(bytes, 64),
  shared: optional(sharedBudgetParser),
} satisfies Shape<RateLimitGroupOptions>

/** What {@link RateLimitGroup.configure} changes. */
export interface RateLimitGroupChanges {
  /** Replaces the limit. Default: as it is. */
  limit?: RateLimit
  /** Replaces the least grant. Default: as it is. */
  minShareBytes?: number
}

const groupChanges = {
  limit: optional(rateLimitParser),
  minShareBytes: optional(bytes),
} satisfies Shape<RateLimitGroupChanges>

/** Counters of a group. Sizes are bytes. */
export interface RateLimitGroupStats {
  /** Connections and groups directly in it. */
  members: number
  /** What may be read now; negative while a debt is being paid off; Infinity without a limit. */
  readLevelBytes: number
  /** What may be written now. */
  writeLevelBytes: number
  /** What members have read, since the start or {@link RateLimitGroup.resetTotals}. */
  totalReadBytes: number
  /** What members have written. */
  totalWrittenBytes: number
  /** The rate of reading over the last second or two. Source: HP-61. */
  readBytesPerSecond: number
  /** The rate of writing. */
  writtenBytesPerSecond: number
  /** Members that wait to read, and are served in turn. */
  waitingToRead: number
  /** Members that wait to write. */
  waitingToWrite: number
  /** Number of the current tick, modulo 2^32. */
  tick: number
  /** Ticks that have filled the buckets so far; those that nobody looked at count as one. */
  refills: number
  /** The least grant in force: no larger than the rates. */
  minShareBytes: number
  /** How the budget shared with others stands; undefined where none is. */
  shared?: SharedBudgetStats
}

/**
 * Buckets that many connections, and other groups, draw from together; over all I/O threads of all runtimes of the
 * process. While there is enough for everybody a member takes what it needs. Once somebody finds nothing, members are
 * served in turn, those first who had least, so that over time all active ones get the same, and idle ones take nothing.
 *
 * Connections become members by `rateLimitGroup` of `listen` and `connect`, or by
 * {@link Connection.setRateLimitGroup}; groups by `parent`: process > listener > group > connection.
 */
export class RateLimitGroup implements Disposable {
  /** The group that this one is a member of. */
  readonly parent: RateLimitGroup | undefined
  /** @internal */ readonly handle: NativeRateGroup
  private current: RateLimit
  private minShareBytes: number
  private clock: RateClock | undefined
  private keeper: SharedBudgetKeeper | undefined
  private gone = false

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(options: RateLimitGroupOptions) {
    const { limit, parent, minShareBytes, shared } = parse(groupOptions, options)
    if (parent?.closed) throw expected('a group that is open', parent, 'parent')
    this.parent = parent
    this.current = limit
    this.minShareBytes = minShareBytes
    this.handle = native.createRateGroup(limit.native, minShareBytes, parent?.handle)
    if (parent?.clock !== undefined) this.useClock(parent.clock)
    if (shared !== undefined) {
      this.keeper = new SharedBudgetKeeper(shared, limit, {
        apply: (share, credit) => this.applyShare(share, credit),
        stats: () => this.nativeStats(),
      })
    }
  }

  /** @internal A group of a keyed set. */
  static of(
    handle: NativeRateGroup,
    limit: RateLimit,
    minShareBytes: number,
    clock: RateClock | undefined,
  ): RateLimitGroup {
    const group: RateLimitGroup = Object.create(RateLimitGroup.prototype)
    Object.assign(group, { handle, current: limit, minShareBytes, clock, parent: undefined, gone: false })
    return group
  }

  /** The limit in force: where it is shared with others, that of all together. */
  get limit(): RateLimit {
    return this.current
  }

  /** Whether it has been closed. */
  get closed(): boolean {
    return this.gone
  }

  /** Changes limit and least grant, while members go on. Levels are cut to a smaller burst, and nothing is added for a
   *  larger one. Source: LE-28. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_CLOSED`. */
  configure(changes: RateLimitGroupChanges): void {
    const { limit, minShareBytes } = parse(groupChanges, changes)
    this.refuseClosed()
    this.current = limit ?? this.current
    this.minShareBytes = minShareBytes ?? this.minShareBytes
    if (this.keeper !== undefined) this.keeper.configure(this.current)
    else native.configureRateGroup(this.handle, this.current.native, this.minShareBytes, this.nowMs())
  }

  /** Counts bytes that were read elsewhere as if a member had; negative ones are credit. Source: LE-30. */
  debitRead(bytes: number): void {
    native.debitRateGroup(this.handle, 0, debit.parse(bytes, 'bytes'), this.nowMs())
  }

  /** The same for writing. */
  debitWrite(bytes: number): void {
    native.debitRateGroup(this.handle, 1, debit.parse(bytes, 'bytes'), this.nowMs())
  }

  /** What may be read now; negative while a debt is being paid off. */
  get readLevelBytes(): number {
    return levelOf(this.nativeStats().readLevel, this.current.readBytesPerTick)
  }

  /** What may be written now. */
  get writeLevelBytes(): number {
    return levelOf(this.nativeStats().writeLevel, this.current.writeBytesPerTick)
  }

  /** Counters of this group. */
  stats(): RateLimitGroupStats {
    const stats = this.nativeStats()
    return {
      members: stats.members,
      readLevelBytes: levelOf(stats.readLevel, this.current.readBytesPerTick),
      writeLevelBytes: levelOf(stats.writeLevel, this.current.writeBytesPerTick),
      totalReadBytes: stats.totalRead,
      totalWrittenBytes: stats.totalWritten,
      readBytesPerSecond: stats.readPerSecond,
      writtenBytesPerSecond: stats.writtenPerSecond,
      waitingToRead: stats.waitingToRead,
      waitingToWrite: stats.waitingToWrite,
      tick: stats.tick,
      refills: stats.refills,
      minShareBytes: stats.minShare,
      ...(this.keeper && { shared: this.keeper.stats() }),
    }
  }

  /** Starts both totals from 0. */
  resetTotals(): void {
    native.resetRateGroupTotals(this.handle)
  }

  /** Ends the group: its members are bound neither by it nor by its parents any more, and those that waited go on. A
   *  second call does nothing. Source: D3. */
  close(): void {
    if (this.gone) return
    this.gone = true
    this.keeper?.close()
    native.dissolveRateGroup(this.handle)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** @internal The first use decides whose time it is, for its parents, too. */
  useClock(clock: RateClock): void {
    this.refuseClosed()
    this.parent?.useClock(clock)
    const before = this.clock
    const same = before === undefined || before === clock || !(before.isVirtual || clock.isVirtual)
    if (!same) {
      const detail = 'a rate limit group cannot be shared between a simulated runtime and others: their clocks differ'
      throw new SluiceError('INVALID_OPTION', { phase: 'options', option: 'rateLimitGroup', detail })
    }
    if (before === undefined && clock.isVirtual) native.restartRateGroupClock(this.handle, clock.nowMs())
    this.clock = clock
  }

  private nativeStats(): NativeRateGroupStats {
    return native.rateGroupStats(this.handle, this.nowMs())
  }

  private applyShare(share: RateLimit, credit: { readBytes: number; writeBytes: number }): void {
    const now = this.nowMs()
    native.configureRateGroup(this.handle, share.native, this.minShareBytes, now)
    if (credit.readBytes > 0) native.debitRateGroup(this.handle, 0, -credit.readBytes, now)
    if (credit.writeBytes > 0) native.debitRateGroup(this.handle, 1, -credit.writeBytes, now)
  }

  private nowMs(): number | undefined {
    return this.clock?.isVirtual ? this.clock.nowMs() : undefined
  }

  private refuseClosed(): void {
    if (this.gone) throw new SluiceError('CLOSED', { detail: 'the rate limit group is closed' })
  }
}

const debit = integer()

function levelOf(level: number, rate: number): number {
  return rate === Infinity ? Infinity : level
}
