import type { Connection } from '../connection.js'
import { type NativeRateGroupMap, native } from '../native/binding.js'
import {
  either,
  expected,
  fn,
  integer,
  oneOf,
  optional,
  type Parser,
  parse,
  type Shape,
  string,
  withDefault,
} from '../options.js'
import { type RateLimit, rateLimitParser } from './rate-limit.js'
import { groupParser, type RateClock, RateLimitGroup } from './rate-limit-group.js'

/** By what connections are grouped: the peer's address, or the text that a function answers for a connection. */
export type GroupBy = 'remoteAddress' | ((connection: Connection) => string)

/** Options of {@link KeyedRateLimitGroups}. */
export interface KeyedRateLimitGroupsOptions {
  /** What the connections of one key together may read and write. */
  limit: RateLimit
  /** The key. With `'remoteAddress'`, IPv4 clients have the same key on IPv6 listeners. A function is called before the
   *  `open` handler; nothing is read before. Default `'remoteAddress'`. */
  groupBy?: GroupBy
  /** The group that each of them is a member of. Default: none. */
  parent?: RateLimitGroup
  /** As in {@link RateLimitGroup}. Default 64. */
  minShareBytes?: number
}

const bytes = integer({ min: 0, max: Number.MAX_SAFE_INTEGER })

const keyedOptions = {
  limit: rateLimitParser,
  groupBy: withDefault(either(oneOf(['remoteAddress']), fn<(connection: Connection) => string>()), 'remoteAddress'),
  parent: optional(groupParser),
  minShareBytes: withDefault(bytes, 64),
} satisfies Shape<KeyedRateLimitGroupsOptions>

/** What {@link KeyedRateLimitGroups.configure} changes. */
export interface KeyedRateLimitChanges {
  /** Replaces the limit of each key. Default: as it is. */
  limit?: RateLimit
  /** Replaces the least grant. Default: as it is. */
  minShareBytes?: number
}

const keyedChanges = {
  limit: optional(rateLimitParser),
  minShareBytes: optional(bytes),
} satisfies Shape<KeyedRateLimitChanges>

const keyParser = string({ maxLength: 1024 })

/**
 * A group per key, made when the first connection with that key comes, e.g. one per client address: each has the limit
 * to itself, and its active connections share it equally, whatever their number. Give it to `listen` or `connect` as
 * `rateLimitGroup`. A key that nobody uses any more is forgotten once its buckets are as full as new ones, so that
 * nobody gains by coming back. Source: HP-110 … HP-115.
 */
export class KeyedRateLimitGroups {
  /** By what connections are grouped. */
  readonly groupBy: GroupBy
  /** @internal */ readonly handle: NativeRateGroupMap
  private readonly parent: RateLimitGroup | undefined
  private current: RateLimit
  private minShareBytes: number
  private clock: RateClock | undefined

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(options: KeyedRateLimitGroupsOptions) {
    const { limit, groupBy, parent, minShareBytes } = parse(keyedOptions, options)
    this.groupBy = groupBy
    this.parent = parent
    this.current = limit
    this.minShareBytes = minShareBytes
    this.handle = native.createRateGroupMap(limit.native, minShareBytes, parent?.handle)
  }

  /** The limit of each key. */
  get limit(): RateLimit {
    return this.current
  }

  /** The group of `key`, which is made where there is none. */
  group(key: string): RateLimitGroup {
    const handle = native.rateGroupOfMap(this.handle, keyParser.parse(key, 'key'), this.nowMs())
    return RateLimitGroup.of(handle, this.current, this.minShareBytes, this.clock)
  }

  /** How many keys it remembers. */
  get size(): number {
    return native.rateGroupMapSize(this.handle, this.nowMs())
  }

  /** Changes the limit of all keys, also of those in use. */
  configure(changes: KeyedRateLimitChanges): void {
    const { limit, minShareBytes } = parse(keyedChanges, changes)
    this.current = limit ?? this.current
    this.minShareBytes = minShareBytes ?? this.minShareBytes
    native.configureRateGroupMap(this.handle, this.current.native, this.minShareBytes, this.nowMs())
  }

  /** @internal */
  useClock(clock: RateClock): void {
    const before = this.clock
    if (before !== undefined && before !== clock && (before.isVirtual || clock.isVirtual)) {
      throw expected('absent: it is in use by a runtime with another clock', 'a simulated runtime', 'rateLimitGroup')
    }
    this.parent?.useClock(clock)
    this.clock = clock
  }

  private nowMs(): number | undefined {
    return this.clock?.isVirtual ? this.clock.nowMs() : undefined
  }
}

/** A group, or keyed groups, for options. */
export const anyGroupParser: Parser<RateLimitGroup | KeyedRateLimitGroups> = {
  allowed: 'a RateLimitGroup or KeyedRateLimitGroups',
  parse(value, option) {
    if (value instanceof RateLimitGroup || value instanceof KeyedRateLimitGroups) return value
    throw expected(this.allowed, value, option)
  },
}
