import type { SluiceError } from '../errors.js'
import {
  anything,
  boolean,
  expected,
  fn,
  integer,
  milliseconds,
  type OptionalParser,
  oneOf,
  optional,
  type Shape,
} from '../options.js'
import { Runtime } from '../runtime.js'
import type { TlsContext } from '../tls/context.js'
import type { TlsClientOptions, TlsServerOptions } from '../tls/options.js'
import { type CompressionEngine, compressionParser } from './compression.js'
import type { MessageContext } from './context.js'
import type { MessageConnection } from './message-connection.js'
import type { Undelivered } from './message-options.js'
import type { MessagePool } from './pool.js'
import type { Protocol } from './protocol.js'
import type { NameResolver } from './resolver.js'

/** In which state connections begin. Source: SF-50. */
export type StartState = 'raw' | 'inactive' | 'active'

/** What a service tells; each is optional. They must not throw. */
export interface MessageEvents {
  /** A connection is there: connected or accepted; nothing has been said yet. */
  connectionStart?(connection: MessageConnection): void
  /** A connection has become active. */
  connectionActivate?(connection: MessageConnection): void
  /** Nothing of what was sent has left a connection for `slowSendMs`: its peer does not read. It goes on. Source: SF-56. */
  connectionSlow?(connection: MessageConnection): void
  /** A connection is gone; `error` says why, when it was not in good order. */
  connectionStop?(connection: MessageConnection, error: SluiceError | undefined): void
  /** The last active connection of a pool is gone. */
  poolDisconnect?(pool: MessagePool, error: SluiceError | undefined): void
  /** The last connection of a pool that has connected to us is gone; `pool` is its `connection.peerPool`. Source: SF-40. */
  peerDisconnect?(pool: string, error: SluiceError | undefined): void
  /** A pool has been closed. */
  poolStop?(pool: MessagePool): void
  /** A handler threw what is not for the peer. Without this event a warning is emitted. */
  handlerError?(error: unknown, context: MessageContext): void
  /** A message of `post()` has not arrived. */
  undelivered?(message: Undelivered): void
}

/** What a service speaks, whom it trusts with how much, and how long it waits. */
export interface MessageServiceOptions {
  /** What it speaks; both what it handles and what it sends. */
  protocols: readonly Protocol[]
  /** Where its connections run. Default: that of `listen()` and `connect()`. */
  runtime?: Runtime
  /** TLS of pools: true, options, or a context; from the first byte on, unless `startTls`. Default: none. */
  tls?: boolean | TlsClientOptions | TlsContext
  /** TLS that pools begin later, by `connection.secure()` in `prepare`. Default: none. */
  startTls?: TlsClientOptions | TlsContext
  /** How connections of pools begin. Default `'active'`; what is not begins with `prepare`. Source: SF-50, SF-55. */
  start?: StartState
  /** Called for each connection of a pool, when it begins raw, or else when both have said hello: negotiates, secures and
   *  authenticates. When it is done the connection is active. If it throws, the connection is closed. */
  prepare?: (connection: MessageConnection, pool: MessagePool) => void | Promise<void>
  /** Finds addresses for names that are none. Default: `'host:port'` by DNS. */
  resolver?: NameResolver
  /** Bound on each message, unless it has one of its own. Default 0: none. */
  timeoutMs?: number
  /** Largest body that is taken as a whole. Default 16 777 216. Source: IC-29. */
  maxMessageBytes?: number
  /** The same before a connection is active; larger ones end it. Default 1 048 576. Source: IC-29. */
  maxStrangerMessageBytes?: number
  /** Requests of one connection that are handled here at once, 1 to 65 536. Default 1024. */
  maxRequests?: number
  /** Messages that one connection may bring at once, 1 to 1024. Default 192. Source: SF-17. */
  maxIncomingMessages?: number
  /** Bytes of each body that a peer may send before we have taken them. Default 1 048 576. */
  windowBytes?: number
  /** Compresses packets, where the peer does too: engines in the order of preference for what comes in. Packets of more
   *  than 1024 bytes that get smaller by 32 or more. Default: none. Source: SF-20. */
  compression?: readonly CompressionEngine[]
  /** Passes on messages between connections that have registered, see `relayProtocol`. Default false. Source: SF-70. */
  relay?: boolean
  /** Accepted connections that may be active at once. Default 0: no limit. Source: SF-47. */
  maxConnections?: number
  /** Pools at once. Default 10 240. Source: SF-35. */
  maxPools?: number
  /** Silence of ours after which a client sends a keep-alive; 0 for never. Default 5 000. Source: SF-60. */
  keepAliveMs?: number
  /** Servers: keep-alives in one `keepAliveIntervalMs` at which a client is sent away. Default 20. Source: SF-61. */
  maxKeepAlives?: number
  /** Servers: what the above counts for. Default 60 000. Source: SF-61. */
  keepAliveIntervalMs?: number
  /** Silence of the peer after which a connection is closed; 0 for never. Default 600 000. Source: SF-56, SF-62. */
  inactivityTimeoutMs?: number
  /** Standstill of what is sent that `events.connectionSlow` tells; 0 for never. Default 10 000. Source: SF-56. */
  slowSendMs?: number
  /** Standstill of what is sent after which a connection is closed; 0 for never. Default 300 000. Source: SF-56. */
  sendTimeoutMs?: number
  /** Bound on becoming active; 0 for none. Default 300 000. Source: SF-56. */
  activationTimeoutMs?: number
  /** Bytes queued at a connection while further messages wait. Default 1 048 576, as of connections. */
  sendBufferBytes?: number
  /** What is told. */
  events?: MessageEvents
  /** Where chance comes from, 0 to 1. Default `Math.random`. */
  random?: () => number
}

const startState = oneOf(['raw', 'inactive', 'active'])

const protocolsParser = {
  allowed: 'a list of what defineProtocol() gives',
  parse(value: unknown, option: string): readonly Protocol[] {
    const isProtocol = (one: unknown) => typeof (one as Protocol | null)?.messages === 'object'
    if (!Array.isArray(value) || value.length === 0 || !value.every(isProtocol))
      throw expected(this.allowed, value, option)
    const names = value.map(({ name, version }: Protocol) => `${name} ${version}`)
    if (new Set(names).size < names.length) throw expected('a list without repetitions', names, option)
    return value
  },
}

const runtimeParser = {
  allowed: 'a Runtime',
  parse(value: unknown, option: string): Runtime {
    if (!(value instanceof Runtime)) throw expected(this.allowed, value, option)
    return value
  },
}

const resolverParser = {
  allowed: 'an object with resolve()',
  parse(value: unknown, option: string): NameResolver {
    if (typeof (value as NameResolver | null)?.resolve !== 'function') throw expected(this.allowed, value, option)
    return value as NameResolver
  },
}

const eventNames = [
  ...[
    'connectionStart',
    'connectionActivate',
    'connectionSlow',
    'connectionStop',
    'poolDisconnect',
    'peerDisconnect',
    'poolStop',
  ],
  ...['handlerError', 'undelivered'],
]
const eventsParser: OptionalParser<MessageEvents | undefined> = {
  allowed: `an object of functions: ${eventNames.join(', ')}`,
  absent: undefined,
  parse(value, option) {
    if (typeof value !== 'object' || value === null) throw expected(this.allowed, value, option)
    for (const [name, listener] of Object.entries(value)) {
      if (!eventNames.includes(name)) throw expected(this.allowed, name, option)
      if (listener !== undefined && typeof listener !== 'function')
        throw expected('a function', listener, `${option}.${name}`)
    }
    return value as MessageEvents
  },
}

const bytes = (min: number, standard: number) => integer({ min, max: 1 << 30, default: standard })

export const serviceOptions = {
  protocols: protocolsParser,
  runtime: optional(runtimeParser),
  tls: anything() as OptionalParser<boolean | TlsClientOptions | TlsContext | undefined>,
  startTls: anything() as OptionalParser<TlsClientOptions | TlsContext | undefined>,
  start: optional(startState),
  prepare: optional(fn<NonNullable<MessageServiceOptions['prepare']>>()),
  resolver: optional(resolverParser),
  timeoutMs: milliseconds({ default: 0 }),
  maxMessageBytes: bytes(0, 16_777_216),
  maxStrangerMessageBytes: bytes(0, 1_048_576),
  maxRequests: integer({ min: 1, max: 65_536, default: 1024 }),
  maxIncomingMessages: integer({ min: 1, max: 1024, default: 192 }),
  windowBytes: bytes(4096, 1_048_576),
  compression: compressionParser,
  relay: boolean({ default: false }),
  maxConnections: integer({ min: 0, max: 1 << 30, default: 0 }),
  maxPools: integer({ min: 1, max: 1 << 20, default: 10_240 }),
  keepAliveMs: milliseconds({ default: 5000 }),
  maxKeepAlives: integer({ min: 2, max: 1 << 20, default: 20 }),
  keepAliveIntervalMs: milliseconds({ min: 1, default: 60_000 }),
  inactivityTimeoutMs: milliseconds({ default: 600_000 }),
  slowSendMs: milliseconds({ default: 10_000 }),
  sendTimeoutMs: milliseconds({ default: 300_000 }),
  activationTimeoutMs: milliseconds({ default: 300_000 }),
  sendBufferBytes: bytes(1, 1_048_576),
  events: eventsParser,
  random: optional(fn<() => number>()),
} satisfies Shape<MessageServiceOptions>

/** Where a service accepts connections, and how they begin. */
export interface MessageListenOptions {
  /** Port; 0 lets the system pick one. */
  port?: number
  /** Address. Default: all. */
  host?: string
  /** Path of a Unix socket, in place of both. */
  path?: string
  /** TLS from the first byte on. */
  tls?: TlsServerOptions | TlsContext
  /** TLS that clients may ask for later. */
  startTls?: TlsServerOptions | TlsContext
  /** How connections begin. Default `'active'`. Source: SF-50. */
  start?: StartState
  /** Called for each connection that does not begin active: at once when it is raw, else when both have said hello. It, or
   *  a handler, calls `activate()`. If it throws, the connection is closed. */
  accepted?: (connection: MessageConnection) => void | Promise<void>
  /** Connections open at once; further ones wait. Default 0: no limit. */
  maxConnections?: number
  /** New connections per second; further ones wait. Default 0: no limit. */
  maxConnectionsPerSecond?: number
  /** Closes the listener when it aborts. */
  signal?: AbortSignal
}
