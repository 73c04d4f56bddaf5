import type { ByteQueue } from './byte-queue/queue.js'
import type { Connection } from './connection.js'
import type { RuleLogEntry } from './connection-facts.js'
import type { SluiceError } from './errors.js'
import { expected } from './options.js'

/** Which bound has passed: nothing read, nothing taken of what is queued, or half-closed for too long. */
export type TimeoutKind = 'read' | 'write' | 'halfClosed'

/**
 * What happens on connections, for all of a listener together: handlers are shared, `connection.data` holds what belongs
 * to one. They run on Node's thread, in order, data before its end. A handler that throws ends its own connection with
 * `ERR_SLUICE_HANDLER_THREW` and no other.
 */
export interface ConnectionHandlers<Data = unknown> {
  /** The connection is there. */
  open?(connection: Connection<Data>): void
  /** Listeners with `tls` or `handshake`: a peer failed there, so that no connection came of it. `error.code` says how. */
  handshakeError?(error: SluiceError): void
  /** Listeners with `rules()`: a rule with the action `log` says something. What becomes of the connection is told by others. */
  ruleLog?(entry: RuleLogEntry): void
  /** Bytes came in. They are a view that is valid until this returns: copy what you keep. Writing it back is free. */
  data?(connection: Connection<Data>, bytes: Uint8Array): void
  /**
   * In place of `data`: bytes came in and are collected in `input`, which is `connection.input`, until you take them out.
   * Called when there are at least `readLowWaterBytes`, after each arrival; reading rests at `readHighWaterBytes`.
   */
  readable?(connection: Connection<Data>, input: ByteQueue): void
  /** After a `write()` that returned false: what was queued has fallen to the low-water mark. */
  drain?(connection: Connection<Data>): void
  /** The peer has finished sending. Unless `allowHalfOpen`, `end()` follows by itself when this returns. */
  end?(connection: Connection<Data>): void
  /** A bound has passed. Without this handler the connection is destroyed with `ERR_SLUICE_…_TIMEOUT`. */
  timeout?(connection: Connection<Data>, kind: TimeoutKind): void
  /** The connection failed; `close` follows. Without `error` and `close` handlers a warning is emitted instead. */
  error?(connection: Connection<Data>, error: SluiceError): void
  /** The connection is gone; the last call. `error` says why, when it was not in good order. */
  close?(connection: Connection<Data>, error?: SluiceError): void
}

const handlerNames = [
  'open',
  'handshakeError',
  'ruleLog',
  'data',
  'readable',
  'drain',
  'end',
  'timeout',
  'error',
  'close',
]

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` unless these are handlers, or undefined. */
export function checkHandlers(handlers: unknown, option = 'handlers'): void {
  if (handlers === undefined) return
  if (typeof handlers !== 'object' || handlers === null) throw expected('an object of functions', handlers, option)
  for (const name of handlerNames) {
    const handler = (handlers as Record<string, unknown>)[name]
    if (handler !== undefined && typeof handler !== 'function')
      throw expected('a function', handler, `${option}.${name}`)
  }
  const { data, readable } = handlers as ConnectionHandlers
  if (data !== undefined && readable !== undefined)
    throw expected(`absent beside "${option}.data"`, readable, `${option}.readable`)
}
