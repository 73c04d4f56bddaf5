import { boolean, integer, milliseconds, nested, type Shape, withDefault } from '../options.js'
import { type ReconnectOptions, reconnectOptions } from './reconnect.js'

/** How a pool treats its connections and its queue. */
export interface PoolOptions {
  /** Connections at most, 1 to 1024. More are opened while messages wait. Default 1. Source: SF-41. */
  maxConnections?: number
  /** Connections that are kept even if there is nothing to send, 0 to 1024. Default 0. Source: SF-41. */
  persistentConnections?: number
  /** Connections that may be in the making at once. Default 1. Source: SF-41. */
  maxPendingConnections?: number
  /** Requests that one connection has under way, 1 to 65 536; the peer may take less. Default 1024. */
  maxRequestsPerConnection?: number
  /** Messages that wait for a connection; further ones are refused with `ERR_SLUICE_MESSAGE_QUEUE_FULL`. Default 10 000. */
  maxQueuedMessages?: number
  /** Bytes of their bodies, likewise. Default 67 108 864. */
  maxQueuedBytes?: number
  /** Bound on connecting to one address, TLS included. Default 10 000. */
  connectTimeoutMs?: number
  /** How long it waits before it connects again. */
  reconnect?: ReconnectOptions
  /** Connects at once, not with the first message. Default false. */
  connectNow?: boolean
}

export const poolOptions = {
  maxConnections: integer({ min: 1, max: 1024, default: 1 }),
  persistentConnections: integer({ min: 0, max: 1024, default: 0 }),
  maxPendingConnections: integer({ min: 1, max: 1024, default: 1 }),
  maxRequestsPerConnection: integer({ min: 1, max: 65_536, default: 1024 }),
  maxQueuedMessages: integer({ min: 0, max: 10_000_000, default: 10_000 }),
  maxQueuedBytes: integer({ min: 0, max: Number.MAX_SAFE_INTEGER, default: 67_108_864 }),
  connectTimeoutMs: milliseconds({ min: 1, default: 10_000 }),
  reconnect: withDefault(nested(reconnectOptions), {
    ...{ baseMs: 10_000, steps: 10, jitterMinMs: 100, jitterMaxMs: 999 },
  }),
  connectNow: boolean({ default: false }),
} satisfies Shape<PoolOptions>
