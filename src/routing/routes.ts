import type { Connection } from '../connection.js'
import type { RuleLogEntry } from '../connection-facts.js'
import type { SluiceError } from '../errors.js'
import type { ConnectionHandlers } from '../handlers.js'
import { checkHandlers } from '../handlers.js'
import {
  expected,
  fn,
  milliseconds,
  type OptionalParser,
  optional,
  type Parser,
  parse,
  type Shape,
} from '../options.js'

/** Where connections of one kind go: to handlers, or on to further {@link Routes}. */
export type RouteTarget = ConnectionHandlers<never> | Routes

/** Handlers for a protocol that begins with these bytes. */
export interface FirstBytesRoute {
  /** Text counts as Latin-1. 1 to 256 bytes. */
  prefix: string | Uint8Array
  /** Who gets such connections, their first bytes included. */
  to: RouteTarget
}

/** Which handlers a connection gets; the first of these that applies. */
export interface RouteTable {
  /** Connections in the clear, on a port that serves TLS as well, see `sniff()`. Default: as if in TLS without ALPN. */
  plain?: RouteTarget
  /** By the protocol that ALPN agreed on. */
  alpn?: Readonly<Record<string, RouteTarget>>
  /** By the first bytes of the session; the longest prefix that fits. A client that waits for the server to begin fits none. */
  firstBytes?: readonly FirstBytesRoute[]
  /** How long the first bytes may take, from beginning to end, in milliseconds. Default 10 000; 0 for no bound. Source: SV-02. */
  firstBytesTimeoutMs?: number
  /** All others. Default: they are reset, and `handshakeError` is told `ERR_SLUICE_PROTOCOL_UNKNOWN`. */
  otherwise?: RouteTarget
  /** As in {@link ConnectionHandlers}: failures before a session, of a listener that has these routes. */
  handshakeError?(error: SluiceError): void
  /** Likewise: what rules say. */
  ruleLog?(entry: RuleLogEntry): void
}

/** Prefixes, the longest first, and how many bytes decide at most. */
export interface FirstBytes {
  readonly list: readonly { prefix: Uint8Array; to: RouteTarget }[]
  readonly timeoutMs: number
}

/** Which handlers a connection gets, by what its opening has found out. Made by {@link routes}. */
export class Routes {
  /** @internal */ readonly plain: RouteTarget | undefined
  /** @internal */ readonly alpn: ReadonlyMap<string, RouteTarget>
  /** @internal */ readonly firstBytes: FirstBytes | undefined
  /** @internal */ readonly otherwise: RouteTarget | undefined
  /** @internal */ readonly handshakeError: RouteTable['handshakeError']
  /** @internal */ readonly ruleLog: RouteTable['ruleLog']

  /** @internal */
  constructor(table: RouteTable) {
    const checked = parse(tableShape, table)
    this.plain = checked.plain
    this.alpn = new Map(Object.entries(checked.alpn ?? {}))
    this.otherwise = checked.otherwise
    this.handshakeError = checked.handshakeError as RouteTable['handshakeError']
    this.ruleLog = checked.ruleLog as RouteTable['ruleLog']
    const list = [...(checked.firstBytes ?? [])].sort((a, b) => b.prefix.length - a.prefix.length)
    this.firstBytes = list.length === 0 ? undefined : { list, timeoutMs: checked.firstBytesTimeoutMs }
    if (this.plain === undefined && this.alpn.size === 0 && list.length === 0 && this.otherwise === undefined)
      throw expected('given, or one of "plain", "alpn", "firstBytes"', undefined, 'otherwise')
  }

  /** @internal Where this connection goes; `'firstBytes'` when these decide, undefined when nobody takes it. */
  next(connection: Connection): RouteTarget | 'firstBytes' | undefined {
    const { tls } = connection
    if (tls === undefined && this.plain !== undefined) return this.plain
    const byAlpn = tls?.alpn === undefined ? undefined : this.alpn.get(tls.alpn)
    return byAlpn ?? (this.firstBytes === undefined ? this.otherwise : 'firstBytes')
  }

  /** @internal Who takes a session that begins with `bytes`; `'needMore'` while that is open. */
  byFirstBytes(bytes: Uint8Array): RouteTarget | 'needMore' | undefined {
    for (const { prefix, to } of this.firstBytes!.list) {
      const shared = Math.min(prefix.length, bytes.length)
      if (Buffer.compare(prefix.subarray(0, shared), bytes.subarray(0, shared)) !== 0) continue
      return shared === prefix.length ? to : 'needMore'
    }
    return this.otherwise
  }
}

/** All handlers that connections in TLS, or those in the clear, may get to from here; `undefined` for those of a listener. */
export function reachable(from: RouteTarget | undefined, plain: boolean): Set<ConnectionHandlers<never> | undefined> {
  const found = new Set<ConnectionHandlers<never> | undefined>()
  const seen = new Set<Routes>()
  const visit = (target: RouteTarget | undefined) => {
    if (!(target instanceof Routes)) return void found.add(target)
    if (seen.has(target)) return
    seen.add(target)
    if (plain && target.plain !== undefined) return visit(target.plain)
    const others = plain ? [] : [...target.alpn.values()]
    const last = target.otherwise === undefined ? [] : [target.otherwise]
    for (const to of [...others, ...(target.firstBytes?.list ?? []).map(({ to }) => to), ...last]) visit(to)
  }
  visit(from)
  return found
}

/**
 * Several protocols on one port: which handlers a connection gets is decided when its opening is done, by whether it is
 * in TLS, by ALPN, and by its first bytes. Takes the place of handlers in `listen()` and in the entries of a
 * {@link SniPolicy}, which decides by server name.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`
 */
export function routes(table: RouteTable): Routes {
  return new Routes(table)
}

// ---- Parsers

/** Handlers, or routes. */
export const routeTarget: OptionalParser<RouteTarget | undefined> = {
  allowed: 'an object of handlers, or routes()',
  absent: undefined,
  parse(value, option) {
    if (value instanceof Routes) return value
    checkHandlers(value, option)
    return value as ConnectionHandlers<never>
  },
}

const prefixAllowed = 'text or bytes, 1 to 256 of them'
const prefix: Parser<Uint8Array> = {
  allowed: prefixAllowed,
  parse(value, option) {
    const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value
    const isLatin1 = typeof value !== 'string' || (bytes as Buffer).toString('latin1') === value
    if (!(bytes instanceof Uint8Array) || bytes.length < 1 || bytes.length > 256 || !isLatin1)
      throw expected(prefixAllowed, value, option)
    return Uint8Array.from(bytes)
  },
}

const target: Parser<RouteTarget> = {
  allowed: routeTarget.allowed,
  parse(value, option) {
    if (value === undefined) throw expected(routeTarget.allowed, value, option)
    return routeTarget.parse(value, option)!
  },
}
const firstBytesShape = { prefix, to: target }

const tableShape = {
  plain: routeTarget,
  alpn: optional<Record<string, RouteTarget>>({
    allowed: 'handlers by protocol',
    parse(value, option) {
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        throw expected('handlers by protocol', value, option)
      return Object.fromEntries(
        Object.entries(value).map(([name, to]) => [name, target.parse(to, `${option}[${JSON.stringify(name)}]`)]),
      )
    },
  }),
  firstBytes: optional<{ prefix: Uint8Array; to: RouteTarget }[]>({
    allowed: 'a list of { prefix, to }',
    parse(value, option) {
      if (!Array.isArray(value) || value.length === 0) throw expected('a list of { prefix, to }', value, option)
      const list = value.map((item, i) => parse(firstBytesShape, item, [], `${option}[${i}]`))
      list.forEach(({ prefix }, i) => {
        const twin = list.findIndex((other) => Buffer.compare(other.prefix, prefix) === 0)
        if (twin !== i)
          throw expected(`another one than that of "${option}[${twin}]"`, prefix, `${option}[${i}].prefix`)
      })
      return list
    },
  }),
  firstBytesTimeoutMs: milliseconds({ default: 10_000 }),
  otherwise: routeTarget,
  handshakeError: optional(fn()),
  ruleLog: optional(fn()),
} satisfies Shape<Omit<RouteTable, 'firstBytes' | 'alpn' | 'handshakeError' | 'ruleLog'>> & Record<string, unknown>
