import { type ConnectShorthand, connectShorthand } from './handshake/connect-shorthand.js'
import { type HandshakeOptions, handshakeOptions } from './handshake/handshake-plan.js'
import {
  anything,
  excludes,
  fn,
  integer,
  milliseconds,
  type OptionalParser,
  oneOf,
  optional,
  requires,
  requiresOneOf,
  type Shape,
  signal,
  string,
} from './options.js'
import type { LookupFunction } from './resolve.js'
import { type ConnectionOptions, connectionOptions } from './settings.js'
import type { TlsContext } from './tls/context.js'
import type { TlsClientOptions } from './tls/options.js'

/** Where to connect, and how long that may take. Either `port` or `path`. */
export interface ConnectOptions extends ConnectionOptions, HandshakeOptions, ConnectShorthand {
  /** Name or address. Default `'localhost'`. */
  host?: string
  /** Port, 1 to 65 535. */
  port?: number
  /** Path of a Unix socket; one that begins with NUL stands in Linux's abstract namespace. */
  path?: string
  /** 4 or 6 for one family of addresses alone. Default 0: both. */
  family?: 0 | 4 | 6
  /** Address to connect from. Default: the system's choice. */
  localAddress?: string
  /** Port to connect from; needs `localAddress`. Default 0: the system's choice. */
  localPort?: number
  /** Asked for addresses instead of the system; like `dns.lookup`. */
  lookup?: LookupFunction
  /** Bound on resolving the name. Default 0: as long as the resolver takes. */
  resolveTimeoutMs?: number
  /** Bound on connecting, all addresses together, after the name is resolved. Default 0: as long as the system tries. */
  connectTimeoutMs?: number
  /** How long one address is tried before the next is tried beside it, 10 to 10 000. Default 250. Source: RFC 8305,
   *  section 5. */
  attemptDelayMs?: number
  /** Speaks TLS: true, options, or a context. Resolves when the handshake is done and the certificate is that of
   *  `host`. */
  tls?: boolean | TlsClientOptions | TlsContext
  /** Gives up when it aborts; does nothing once connected. */
  signal?: AbortSignal
}

export const connectOptions = {
  ...connectionOptions,
  ...handshakeOptions,
  ...connectShorthand,
  host: string({ default: 'localhost' }),
  port: optional(integer({ min: 1, max: 65_535 })),
  path: optional(string({ abstract: true })),
  family: oneOf([0, 4, 6], { default: 0 }),
  localAddress: optional(string()),
  localPort: integer({ min: 0, max: 65_535, default: 0 }),
  lookup: optional(fn<LookupFunction>()),
  resolveTimeoutMs: milliseconds({ default: 0 }),
  connectTimeoutMs: milliseconds({ default: 0 }),
  attemptDelayMs: milliseconds({ min: 10, max: 10_000, default: 250 }),
  tls: anything() as OptionalParser<boolean | TlsClientOptions | TlsContext | undefined>, // src/tls/setup.ts looks at it
  signal: optional(signal()),
} satisfies Shape<Omit<ConnectOptions, 'handshake' | keyof ConnectShorthand>> & Record<string, unknown>

export const connectRules = [
  requiresOneOf('port', 'path'),
  excludes('path', ['port', 'host', 'family', 'localAddress', 'localPort', 'lookup', 'resolveTimeoutMs', 'socks']),
  requires('localPort', 'localAddress'),
  requires('handshakeTimeoutMs', 'handshake', 'socks', 'sendProxy'),
]
