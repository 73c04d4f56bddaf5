import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { NativeRateStanding } from '../native/binding.js'
import { integer } from '../options.js'
import type { RateLimit } from './rate-limit.js'
import type { RateLimitGroup } from './rate-limit-group.js'

/** What holds a direction back: the connection's own limit, or its group. */
export type RateHold = 'limit' | 'group'

/** What has been changed of a connection's limits since it began. */
export interface OwnRates {
  limit?: RateLimit | undefined
  group?: RateLimitGroup | undefined
}

const debit = integer()

/** How one connection stands with its rate limits; comes from {@link Connection.rates}. Each look asks the loop. */
export class ConnectionRates {
  /** @internal */
  constructor(
    private readonly connection: Connection,
    /** The limit of its own. */
    readonly limit: RateLimit | undefined,
    /** The group that it is a member of; undefined for one that was found by remote address. */
    readonly group: RateLimitGroup | undefined,
  ) {}

  /** What its own limit lets it read now; negative while a debt is being paid off; Infinity without one. Source: LE-29. */
  get readLevelBytes(): number {
    return finite(this.standing().readLevel)
  }

  /** What its own limit lets it write now. */
  get writeLevelBytes(): number {
    return finite(this.standing().writeLevel)
  }

  /** What it may read at once now: the least of its own level, its group's grant, and what a connection may read in a
   *  turn (`receiveTurnBytes`). Source: LE-21, D8. */
  get maxToReadBytes(): number {
    return Math.min(this.standing().maxToRead, this.connection.channel.receiveTurnBytes)
  }

  /** What it may write at once now; Infinity without a limit. */
  get maxToWriteBytes(): number {
    return finite(this.standing().maxToWrite)
  }

  /** What keeps it from reading, if anything does. */
  get readHeldBy(): RateHold | undefined {
    const { readHeldByLimit, readHeldByGroup } = this.standing()
    return heldBy(readHeldByLimit, readHeldByGroup)
  }

  /** What keeps it from writing, if anything does. */
  get writeHeldBy(): RateHold | undefined {
    const { writeHeldByLimit, writeHeldByGroup } = this.standing()
    return heldBy(writeHeldByLimit, writeHeldByGroup)
  }

  /**
   * Counts bytes as if they had been read; negative ones are credit. Source: LE-30.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_ARGUMENT` without a limit of its own, also once it is closed.
   */
  debitRead(bytes: number): void {
    this.debit(0, bytes)
  }

  /** The same for writing. */
  debitWrite(bytes: number): void {
    this.debit(1, bytes)
  }

  private debit(direction: 0 | 1, bytes: number): void {
    const { channel, slot, tag } = this.connection
    if (channel.native.debitRate(slot, tag, direction, debit.parse(bytes, 'bytes'))) return
    throw new SluiceError('INVALID_ARGUMENT', { detail: 'the connection has no rate limit of its own' })
  }

  private standing(): NativeRateStanding {
    const { channel, slot, tag } = this.connection
    return channel.native.rateStanding(slot, tag) ?? gone
  }
}

const gone: NativeRateStanding = {
  ...{ readLevel: 0, writeLevel: 0, maxToRead: 0, maxToWrite: 0 },
  ...{ readHeldByLimit: false, readHeldByGroup: false, writeHeldByLimit: false, writeHeldByGroup: false },
}

// No limit is the largest number of native code.
function finite(bytes: number): number {
  return bytes >= 2 ** 62 ? Infinity : bytes
}

function heldBy(limit: boolean, group: boolean): RateHold | undefined {
  if (limit) return 'limit'
  return group ? 'group' : undefined
}
