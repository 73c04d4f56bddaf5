import type { NativeRateLimit } from '../native/binding.js'
import {
  expected,
  integer,
  number,
  optional,
  type Parser,
  parse,
  requires,
  requiresOneOf,
  type Shape,
  withDefault,
} from '../options.js'
import { type ByteSize, byteSize } from './byte-size.js'

/** A token bucket per direction: bytes per tick, not per second. A direction without a rate has no limit. */
export interface RateLimitOptions {
  /** Bytes that each tick adds to what may be read, and what may be read at once at the start. Source: LE-01, LE-05. */
  readBytesPerTick?: number
  /** What unused ticks may add up to; at least the rate. Default: the rate. Source: LE-02. */
  readBurstBytes?: number
  /** The same for writing. */
  writeBytesPerTick?: number
  /** The same for writing. Default: the rate. */
  writeBurstBytes?: number
  /** Length of a tick, 1 to 2 147 483 999; parts of a millisecond do not count. Ticks are aligned to the clock, so that
   *  the first one ends after any part of it. Default 1 000. Source: LE-02, LE-03, LE-04. */
  tickMs?: number
}

const maxTickMs = 2_147_483_999
const bytes = () => optional(integer({ min: 1, max: Number.MAX_SAFE_INTEGER }))

const rateLimitOptions = {
  readBytesPerTick: bytes(),
  readBurstBytes: bytes(),
  writeBytesPerTick: bytes(),
  writeBurstBytes: bytes(),
  tickMs: withDefault(tick(), 1000),
} satisfies Shape<RateLimitOptions>

const rateLimitRules = [
  requiresOneOf('readBytesPerTick', 'writeBytesPerTick'),
  requires('readBurstBytes', 'readBytesPerTick'),
  requires('writeBurstBytes', 'writeBytesPerTick'),
]

/** Options of {@link RateLimit.bytesPerSecond}. */
export interface BytesPerSecondOptions {
  /** What unused time may add up to, in bytes, per direction. Default: what comes in within 100 ms. */
  burst?: ByteSize
  /** Length of a tick. Default: the shortest from 10 ms to 1 s that makes a whole number of bytes, and at least 100. */
  tickMs?: number
}

const perSecondOptions = {
  burst: optional(byteSize),
  tickMs: optional(tick()),
} satisfies Shape<BytesPerSecondOptions>

/** Rates for {@link RateLimit.bytesPerSecond}, per direction. */
export interface DirectionRates {
  /** Bytes per second that may be read. Default: no limit. */
  read?: ByteSize
  /** Bytes per second that may be written. Default: no limit. */
  write?: ByteSize
}

const directionRates = {
  read: optional(byteSize),
  write: optional(byteSize),
} satisfies Shape<DirectionRates>

/**
 * How fast connections may read and write: what fills a token bucket per direction. Immutable, and shared freely: each
 * connection given it has buckets of its own, each {@link RateLimitGroup} one pair for all its members.
 *
 * A bucket starts with one tick's worth. What moves is taken out of it, and may take it below zero, e.g. a whole TLS
 * record; nothing more moves until ticks have filled it above zero again.
 */
export class RateLimit {
  /** Bytes that each tick adds to what may be read; Infinity without a limit. */
  readonly readBytesPerTick: number
  /** How far unused ticks fill the bucket; Infinity without a limit. */
  readonly readBurstBytes: number
  /** Bytes that each tick adds to what may be written; Infinity without a limit. */
  readonly writeBytesPerTick: number
  /** How far unused ticks fill the bucket; Infinity without a limit. */
  readonly writeBurstBytes: number
  /** Length of a tick. */
  readonly tickMs: number

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, also for a rate above its burst. */
  constructor(options: RateLimitOptions) {
    const parsed = parse(rateLimitOptions, options, rateLimitRules)
    this.readBytesPerTick = parsed.readBytesPerTick ?? Infinity
    this.readBurstBytes = burstOf('read', this.readBytesPerTick, parsed.readBurstBytes)
    this.writeBytesPerTick = parsed.writeBytesPerTick ?? Infinity
    this.writeBurstBytes = burstOf('write', this.writeBytesPerTick, parsed.writeBurstBytes)
    this.tickMs = parsed.tickMs
    Object.freeze(this)
  }

  /**
   * The same by bytes per second: `RateLimit.bytesPerSecond('10 MB')` for each direction, or
   * `RateLimit.bytesPerSecond({ read: '512 KiB', write: 20_000 })`.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, also for a tick that makes no whole number of bytes.
   */
  static bytesPerSecond(rate: ByteSize | DirectionRates, options?: BytesPerSecondOptions): RateLimit {
    const { read, write } = ratesOf(rate)
    const { burst, tickMs = tickFor([read, write]) } = parse(perSecondOptions, options)
    const flow = (perSecond: number | undefined) => {
      if (perSecond === undefined) return {}
      const perTick = bytesPerTick(perSecond, tickMs)
      if (perTick === undefined)
        throw expected(`one that makes a whole number of bytes of ${perSecond} per second`, tickMs, 'tickMs')
      if (burst !== undefined && burst < perTick)
        throw expected(`at least what a tick brings, ${perTick}`, burst, 'burst')
      return { perTick, burst: burst ?? Math.max(perTick, Math.floor(perSecond / 10)) }
    }
    const [reading, writing] = [flow(read), flow(write)]
    return new RateLimit({
      readBytesPerTick: reading.perTick,
      readBurstBytes: reading.burst,
      writeBytesPerTick: writing.perTick,
      writeBurstBytes: writing.burst,
      tickMs,
    })
  }

  /** @internal As native code takes it. */
  get native(): NativeRateLimit {
    const limit: NativeRateLimit = { tickMs: this.tickMs }
    if (this.readBytesPerTick !== Infinity) {
      limit.readRate = this.readBytesPerTick
      limit.readBurst = this.readBurstBytes
    }
    if (this.writeBytesPerTick !== Infinity) {
      limit.writeRate = this.writeBytesPerTick
      limit.writeBurst = this.writeBurstBytes
    }
    return limit
  }
}

/** A RateLimit, for options. */
export const rateLimitParser: Parser<RateLimit> = {
  allowed: 'a RateLimit',
  parse(value, option) {
    if (!(value instanceof RateLimit)) throw expected(this.allowed, value, option)
    return value
  },
}

function tick(): Parser<number> {
  const of = number({ min: 1, max: maxTickMs + 0.999 })
  return { allowed: `a number from 1 to ${maxTickMs}`, parse: (value, option) => Math.floor(of.parse(value, option)) }
}

function burstOf(direction: 'read' | 'write', rate: number, burst: number | undefined): number {
  if (burst !== undefined && burst < rate) {
    throw expected(`at least "${direction}BytesPerTick", ${rate}`, burst, `${direction}BurstBytes`)
  }
  return burst ?? rate
}

function ratesOf(rate: ByteSize | DirectionRates): { read: number | undefined; write: number | undefined } {
  if (typeof rate === 'object' && rate !== null) {
    return parse(directionRates, rate, [requiresOneOf('read', 'write')], 'rate')
  }
  const both = byteSize.parse(rate, 'rate')
  return { read: both, write: both }
}

const ticks = [10, 20, 25, 40, 50, 100, 125, 200, 250, 500]
const usefulBytes = 100

// A second always makes a whole number.
function tickFor(rates: readonly (number | undefined)[]): number {
  const suits = (tickMs: number) =>
    rates.every((rate) => rate === undefined || (bytesPerTick(rate, tickMs) ?? 0) >= usefulBytes)
  return ticks.find(suits) ?? 1000
}

// Exact: the product may be beyond what a number holds.
function bytesPerTick(perSecond: number, tickMs: number): number | undefined {
  const thousandfold = BigInt(perSecond) * BigInt(tickMs)
  const whole = Number(thousandfold / 1000n)
  return thousandfold % 1000n === 0n && whole >= 1 && Number.isSafeInteger(whole) ? whole : undefined
}
