import type { Connection } from './connection.js'
import type { SluiceError } from './errors.js'
import type { Filter } from './filter/filter.js'
import type { ConnectionHandlers } from './handlers.js'
import type { CustomStep } from './handshake/custom-step.js'
import { collecting } from './input.js'
import type { NativeConnectionConfig, NativeTlsConfig } from './native/binding.js'
import { boolean, expected, fn, integer, milliseconds, optional, type Shape, withDefault } from './options.js'
import { anyGroupParser, KeyedRateLimitGroups } from './rate-limit/keyed-rate-limit-groups.js'
import { type RateLimit, rateLimitParser } from './rate-limit/rate-limit.js'
import type { RateClock, RateLimitGroup } from './rate-limit/rate-limit-group.js'
import { type SocketOptions, socketOptions } from './socket-options.js'
import type { TlsPeer } from './tls/setup.js'

const maxBytes = 1_073_741_824

/** What every connection can be given, by its listener or by connect(). Sizes are bytes, times milliseconds. */
export interface ConnectionOptions extends SocketOptions {
  /** Keeps the own direction open when the peer has ended its own. Default false, as in `node:net`. */
  allowHalfOpen?: boolean
  /** Queued bytes from which `write()` returns false. Default 1 048 576. Source: our choice, measured. */
  highWaterBytes?: number
  /** Queued bytes at which `drain` is reported. Default 0: everything is with the system. Source: LE-44. */
  lowWaterBytes?: number
  /** Queued bytes that no `write()` may exceed; it throws `ERR_SLUICE_QUEUE_FULL`. Default 67 108 864. */
  hardLimitBytes?: number
  /** Collected bytes from which `readable` is called, or a step of `for await` answered. Default 0: any. Source: LE-41. */
  readLowWaterBytes?: number
  /** Collected bytes at which reading rests, with `readable`, `for await` and streams. Default: as `highWaterBytes`; for
   *  Node streams 65 536. Source: LE-42. */
  readHighWaterBytes?: number
  /** What one read, and so one call of `data`, may bring before others have their turn. Default 0: what `receiveTurnBytes`
   *  of the runtime allows. With TLS it bounds what is read of the ciphertext. Source: LE-20. */
  maxReadBytes?: number
  /** What one write to the system may hold before others have their turn. Default 0: no bound. Source: LE-20. */
  maxWriteBytes?: number
  /** Bound on silence of the peer while we read. Default 0: none. Source: HP-101. */
  readTimeoutMs?: number
  /** Bound on a standstill of what is queued. Default 0: none. Source: HP-101, LE-49. */
  writeTimeoutMs?: number
  /** Bound on the time between the end of one direction and that of the other. Default 0: none. Source: HP-104. */
  halfClosedTimeoutMs?: number
  /** How fast each connection may read and write: buckets of its own. Default: no limit. Source: LE-01. */
  rateLimit?: RateLimit
  /** Buckets shared with others: one group, or one per key, e.g. per remote address. Default: none. Source: LE-22. */
  rateLimitGroup?: RateLimitGroup | KeyedRateLimitGroups
  /** Called for each new connection, before its `open`: the filters it begins with, see `Connection.filter()`. */
  filters?: (connection: Connection) => Filter | readonly Filter[]
  /** Whose events are handled first, −100 to 100: those of higher priority, within what a turn brings. Default 0. */
  priority?: number
}

/** Of `Connection.priority`. */
export const priorityOption = integer({ min: -100, max: 100, default: 0 })
const operationBound = () => integer({ min: 0, max: maxBytes, default: 0 })
const timeout = () => withDefault(milliseconds(), 0)

// Whatever the socket is.
const flowOptions = {
  allowHalfOpen: boolean({ default: false }),
  highWaterBytes: integer({ min: 1, max: maxBytes, default: 1_048_576 }),
  lowWaterBytes: integer({ min: 0, max: maxBytes, default: 0 }),
  hardLimitBytes: integer({ min: 1, max: maxBytes, default: 67_108_864 }),
  readLowWaterBytes: integer({ min: 0, max: maxBytes, default: 0 }),
  readHighWaterBytes: optional(integer({ min: 1, max: maxBytes })),
  maxReadBytes: operationBound(),
  maxWriteBytes: operationBound(),
  readTimeoutMs: timeout(),
  writeTimeoutMs: timeout(),
  halfClosedTimeoutMs: timeout(),
  rateLimit: optional(rateLimitParser),
  rateLimitGroup: optional(anyGroupParser),
  filters: optional(fn<NonNullable<ConnectionOptions['filters']>>()),
  priority: priorityOption,
} satisfies Shape<Omit<ConnectionOptions, keyof SocketOptions>>

export const connectionOptions = {
  ...socketOptions,
  ...flowOptions,
} satisfies Shape<ConnectionOptions>

/** What a socket that comes from elsewhere is given. Its socket options stay as they are. */
export interface AdoptOptions extends Omit<ConnectionOptions, keyof SocketOptions> {
  /** A connected stream socket; the connection owns it from now on. */
  fd: number
}

export const adoptOptions = {
  ...flowOptions,
  fd: integer({ min: 0, max: 2_147_483_647 }),
} satisfies Shape<AdoptOptions>

/** What the two ends of a pair have in common. */
export interface PairOptions extends Omit<ConnectionOptions, keyof SocketOptions> {
  /** Bytes on the way in one direction, 1 to 1 073 741 824; what is written beyond is queued at the writer, as with a
   *  socket. Default 65 536. Source: LE-61. */
  bufferBytes?: number
  /** `destroy()` of one end is `ERR_SLUICE_CONNECTION_RESET` for the other. Otherwise that one is not told, and what it
   *  writes is dropped. `end()`, `close()` and `reset()` are told either way. Default false. Source: D10, LE-63. */
  endOnDestroy?: boolean
}

export const pairOptions = {
  ...flowOptions,
  bufferBytes: integer({ min: 1, max: maxBytes, default: 65_536 }),
  endOnDestroy: boolean({ default: false }),
} satisfies Shape<PairOptions>

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` unless the sizes are in order. */
export function checkSizes(
  options: Pick<
    ConnectionSettings,
    'highWaterBytes' | 'lowWaterBytes' | 'hardLimitBytes' | 'readLowWaterBytes' | 'readHighWaterBytes'
  >,
): void {
  const { highWaterBytes, lowWaterBytes, hardLimitBytes, readLowWaterBytes } = options
  if (lowWaterBytes > highWaterBytes)
    throw expected(`at most "highWaterBytes", ${highWaterBytes}`, lowWaterBytes, 'lowWaterBytes')
  if (hardLimitBytes < highWaterBytes)
    throw expected(`at least "highWaterBytes", ${highWaterBytes}`, hardLimitBytes, 'hardLimitBytes')
  const readHighWaterBytes = options.readHighWaterBytes ?? highWaterBytes
  if (readLowWaterBytes > readHighWaterBytes)
    throw expected(`at most "readHighWaterBytes", ${readHighWaterBytes}`, readLowWaterBytes, 'readLowWaterBytes')
}

/** How one connection is secured. */
export interface ConnectionTls {
  config: NativeTlsConfig
  /** Plaintext that came before the handshake is dropped instead of refused. */
  discardPlaintext: boolean
  /** Called when the handshake is done; an error ends the connection. */
  check?: (connection: Connection) => SluiceError | undefined
}

/** What the connections of one listener, or one connect(), have in common. */
export interface ConnectionSettings {
  handlers: ConnectionHandlers<never> | undefined
  allowHalfOpen: boolean
  highWaterBytes: number
  lowWaterBytes: number
  hardLimitBytes: number
  /** These connections begin with TLS, or are pairs: the system cannot send files for them. */
  layered?: boolean
  /** These connections have steps before their session; those of JavaScript's, by number. */
  steps?: readonly CustomStep[]
  /** connect(): what secures the connection before it opens. */
  tls?: ConnectionTls
  /** connect(): whom it was asked for. */
  peer?: TlsPeer
  readLowWaterBytes: number
  readHighWaterBytes: number | undefined
  filters: ConnectionOptions['filters']
  priority: number
  /** Called when one of these connections is gone, after its handlers. */
  gone: (() => void) | undefined
  rateLimit?: RateLimit | undefined
  rateLimitGroup?: RateLimitGroup | KeyedRateLimitGroups | undefined
}

type RateOptions = Pick<ConnectionOptions, 'rateLimit' | 'rateLimitGroup'>

/** Separates what JavaScript looks at from what native code does. */
export function settingsOf(
  options: Omit<ConnectionSettings, 'handlers' | 'gone' | 'tls' | 'peer' | 'layered' | 'steps'>,
  handlers: ConnectionHandlers<never> | undefined,
): ConnectionSettings {
  const { allowHalfOpen, highWaterBytes, lowWaterBytes, hardLimitBytes, readLowWaterBytes, readHighWaterBytes } =
    options
  const { filters, priority, rateLimit, rateLimitGroup } = options
  return {
    handlers: handlers && collecting(handlers),
    ...{ allowHalfOpen, highWaterBytes, lowWaterBytes, hardLimitBytes, readLowWaterBytes, readHighWaterBytes },
    ...{ filters, priority, rateLimit, rateLimitGroup, gone: undefined },
  }
}

/** What native code is told of rate limits. `clock` is that of the loop.
 *  @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for a group that goes by another clock. */
export function nativeRatesOf(options: RateOptions, clock: RateClock): Partial<NativeConnectionConfig> {
  const { rateLimit, rateLimitGroup: group } = options
  group?.useClock(clock)
  const config: Partial<NativeConnectionConfig> = {}
  if (rateLimit !== undefined) config.rateLimit = rateLimit.native
  if (group instanceof KeyedRateLimitGroups) {
    if (group.groupBy === 'remoteAddress') config.rateGroups = group.handle
    else config.rateGroupFollows = true
  } else if (group !== undefined) {
    config.rateGroup = group.handle
  }
  return config
}

export function nativeConfigOf(
  options: Required<
    Pick<ConnectionOptions, Exclude<keyof NativeConnectionConfig & keyof ConnectionOptions, 'rateLimit'>>
  >,
  startPaused: boolean,
): NativeConnectionConfig {
  const { readTimeoutMs, writeTimeoutMs, halfClosedTimeoutMs, lowWaterBytes, maxReadBytes, maxWriteBytes } = options
  return {
    ...{ readTimeoutMs, writeTimeoutMs, halfClosedTimeoutMs, lowWaterBytes },
    ...{ maxReadBytes, maxWriteBytes, startPaused },
  }
}

/** How long a graceful close may take. */
export interface CloseOptions {
  /** Bound on finishing; afterwards the connection is destroyed. Default 5 000. */
  timeoutMs?: number
}

/** Timeouts that `Connection.setTimeouts()` may change; times in milliseconds. */
export interface ConnectionTimeouts {
  /** Bound on silence of the peer while we read; 0 for none. */
  readTimeoutMs?: number
  /** Bound on a standstill of what is queued; 0 for none. */
  writeTimeoutMs?: number
  /** Bound on being half-closed; 0 for none. */
  halfClosedTimeoutMs?: number
}

/** How much of what arrives is collected for `readable`; what is left out stays as it is. */
export interface ReadWaterMarks {
  /** Bytes from which it is called. */
  lowWaterBytes?: number
  /** Bytes at which reading rests until some are taken. */
  highWaterBytes?: number
}

export const readWaterMarks = {
  lowWaterBytes: optional(integer({ min: 0, max: maxBytes })),
  highWaterBytes: optional(integer({ min: 1, max: maxBytes })),
} satisfies Shape<ReadWaterMarks>

/** How much may be queued, see {@link ConnectionOptions}; what is left out stays as it is. */
export interface WriteWaterMarks {
  /** Queued bytes at which `drain` is reported. */
  lowWaterBytes?: number
  /** Queued bytes from which `write()` returns false. */
  highWaterBytes?: number
  /** Queued bytes that no `write()` may exceed. */
  hardLimitBytes?: number
}

export const writeWaterMarks = {
  ...readWaterMarks,
  hardLimitBytes: optional(integer({ min: 1, max: maxBytes })),
} satisfies Shape<WriteWaterMarks>

/** What single operations may move, see {@link ConnectionOptions}; what is left out becomes 0, no bound. */
export interface OperationBounds {
  /** What one read may bring. */
  maxReadBytes?: number
  /** What one write to the system may hold. */
  maxWriteBytes?: number
}

export const operationBounds = {
  maxReadBytes: operationBound(),
  maxWriteBytes: operationBound(),
} satisfies Shape<OperationBounds>

export const closeOptions = {
  timeoutMs: withDefault(milliseconds({ min: 1 }), 5000),
} satisfies Shape<CloseOptions>

export const connectionTimeouts = {
  readTimeoutMs: timeout(),
  writeTimeoutMs: timeout(),
  halfClosedTimeoutMs: timeout(),
} satisfies Shape<ConnectionTimeouts>
