import type { Connection } from './connection.js'
import type { Filter } from './filter/filter.js'
import type { ConnectionHandlers } from './handlers.js'
import type { NativeConnectionConfig } from './native/binding.js'
import { boolean, expected, fn, integer, milliseconds, optional, type Shape, withDefault } from './options.js'
import { type SocketOptions, socketOptions } from './socket-options.js'

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
  /** Bound on silence of the peer while we read. Default 0: none. Source: HP-101. */
  readTimeoutMs?: number
  /** Bound on a standstill of what is queued. Default 0: none. Source: HP-101, LE-49. */
  writeTimeoutMs?: number
  /** Bound on the time between the end of one direction and that of the other. Default 0: none. Source: HP-104. */
  halfClosedTimeoutMs?: number
  /** Called for each new connection, before its `open`: the filters it begins with, see `Connection.filter()`. */
  filters?: (connection: Connection) => Filter | readonly Filter[]
}

const timeout = () => withDefault(milliseconds(), 0)

// Whatever the socket is.
const flowOptions = {
  allowHalfOpen: boolean({ default: false }),
  highWaterBytes: integer({ min: 1, max: maxBytes, default: 1_048_576 }),
  lowWaterBytes: integer({ min: 0, max: maxBytes, default: 0 }),
  hardLimitBytes: integer({ min: 1, max: maxBytes, default: 67_108_864 }),
  readTimeoutMs: timeout(),
  writeTimeoutMs: timeout(),
  halfClosedTimeoutMs: timeout(),
  filters: optional(fn<NonNullable<ConnectionOptions['filters']>>()),
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

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` unless the three sizes are in order. */
export function checkSizes(
  options: Required<Pick<ConnectionOptions, 'highWaterBytes' | 'lowWaterBytes' | 'hardLimitBytes'>>,
): void {
  const { highWaterBytes, lowWaterBytes, hardLimitBytes } = options
  if (lowWaterBytes > highWaterBytes)
    throw expected(`at most "highWaterBytes", ${highWaterBytes}`, lowWaterBytes, 'lowWaterBytes')
  if (hardLimitBytes < highWaterBytes)
    throw expected(`at least "highWaterBytes", ${highWaterBytes}`, hardLimitBytes, 'hardLimitBytes')
}

/** What the connections of one listener, or one connect(), have in common. */
export interface ConnectionSettings {
  handlers: ConnectionHandlers<never> | undefined
  allowHalfOpen: boolean
  highWaterBytes: number
  lowWaterBytes: number
  hardLimitBytes: number
  filters: ConnectionOptions['filters']
  /** Called when one of these connections is gone, after its handlers. */
  gone: (() => void) | undefined
}

/** Separates what JavaScript looks at from what native code does. */
export function settingsOf(
  options: Required<Pick<ConnectionOptions, 'allowHalfOpen' | 'highWaterBytes' | 'lowWaterBytes' | 'hardLimitBytes'>> &
    Pick<ConnectionOptions, 'filters'>,
  handlers: ConnectionHandlers<never> | undefined,
): ConnectionSettings {
  const { allowHalfOpen, highWaterBytes, lowWaterBytes, hardLimitBytes, filters } = options
  return { handlers, allowHalfOpen, highWaterBytes, lowWaterBytes, hardLimitBytes, filters, gone: undefined }
}

export function nativeConfigOf(
  options: Required<
    Pick<ConnectionOptions, 'readTimeoutMs' | 'writeTimeoutMs' | 'halfClosedTimeoutMs' | 'lowWaterBytes'>
  >,
  startPaused: boolean,
): NativeConnectionConfig {
  const { readTimeoutMs, writeTimeoutMs, halfClosedTimeoutMs, lowWaterBytes } = options
  return { readTimeoutMs, writeTimeoutMs, halfClosedTimeoutMs, lowWaterBytes, startPaused }
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

export const closeOptions = {
  timeoutMs: withDefault(milliseconds({ min: 1 }), 5000),
} satisfies Shape<CloseOptions>

export const connectionTimeouts = {
  readTimeoutMs: timeout(),
  writeTimeoutMs: timeout(),
  halfClosedTimeoutMs: timeout(),
} satisfies Shape<ConnectionTimeouts>
