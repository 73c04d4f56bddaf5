import type { ConnectOptions } from '../connect-options.js'
import { Connection } from '../connection.js'
import { formatEndpoint } from '../errors.js'
import type { ConnectionHandlers } from '../handlers.js'
import {
  anything,
  boolean,
  either,
  excludes,
  expected,
  fn,
  instanceOf,
  integer,
  milliseconds,
  number,
  type OptionalParser,
  oneOf,
  optional,
  type Parsed,
  type Parser,
  parse,
  requires,
  requiresOneOf,
  type Shape,
  signal,
  string,
  withDefault,
} from '../options.js'
import { Runtime } from '../runtime.js'
import type { TlsContext } from '../tls/context.js'
import type { TlsClientOptions } from '../tls/options.js'
import type { AcquisitionStep } from './acquisition.js'
import { type BalanceMethod, balanceMethods } from './balance.js'

/** How a connection to a server is made and what it is given, beside where it leads. */
export type UpstreamConnectOptions = Omit<ConnectOptions, 'host' | 'port' | 'path' | 'tls' | 'signal'>

/** What an agent says of a server: that it is well or not, and how much of the load it is to have. */
export interface AgentVerdict {
  /** Whether the check succeeded. */
  up: boolean
  /** A new weight, 0 to 256. */
  weight?: number
  /** A new administrative state. */
  state?: UpstreamAdminState
  /** Why; shown in `stats()`. */
  text?: string
}

/** Whether a server may be used at all: `'drain'` takes no more and keeps what it has, `'maintenance'` is not checked either. */
export type UpstreamAdminState = 'ready' | 'drain' | 'maintenance'

/** What a health check asks of a server. Everything given has to succeed. Times are milliseconds. */
export interface HealthCheckOptions {
  /** Time between checks. Default 2 000. */
  intervalMs?: number
  /** The same while a server is on its way from up to down or back. Default: `intervalMs`. */
  fastIntervalMs?: number
  /** The same while a server is down. Default: `intervalMs`. */
  downIntervalMs?: number
  /** Bound on one check. Default: `intervalMs`. Source: HP-105. */
  timeoutMs?: number
  /** Good checks in a row that bring a server back. Default 2. */
  rise?: number
  /** Bad checks in a row that take a server out. Default 3. */
  fall?: number
  /** Whether a server counts as up before its first check. Default true; a single bad check then takes it out. */
  startUp?: boolean
  /** Another port than that of connections. */
  port?: number
  /** TLS for checks; false for none. Default: as connections have it. */
  tls?: boolean | TlsClientOptions | TlsContext
  /** Sent once connected. */
  send?: string | Uint8Array
  /** What has to be among the first 65 536 bytes of the answer. */
  expect?: string | Uint8Array | RegExp
  /** An HTTP request, in place of `send` and `expect`. */
  http?: HttpCheckOptions
  /** Asked in place of the network. What it throws, and a false, is a bad check. */
  agent?: (
    server: { name: string; host?: string; port?: number; path?: string },
    signal: AbortSignal,
  ) => Promise<boolean | AgentVerdict>
}

/** The request of a health check, and the answers that are good. */
export interface HttpCheckOptions {
  /** Default `'GET'`. */
  method?: string
  /** Default `'/'`. */
  path?: string
  /** Value of the Host header. Default: the server's host. */
  host?: string
  /** Good answers: one status, or several. Default: 200 to 399. */
  status?: number | number[]
}

/** A server of a pool. Either `port` or `path`. */
export interface UpstreamServerOptions {
  /** What it is called in `stats()` and by the consistent hash. Default: its address and port. */
  name?: string
  /** Name or address. Default `'localhost'`. */
  host?: string
  /** Port, 1 to 65 535. */
  port?: number
  /** Path of a Unix socket. */
  path?: string
  /** Its part of the load, 0 to 256; 0 takes no more. Default 1. */
  weight?: number
  /** Used when no other server is usable. Default false. */
  backup?: boolean
  /** Connections in use at once; further requests wait. Default 0: no limit. Source: HP-76. */
  maxConnections?: number
  /** The same when the pool has nothing to do, from where it grows up to `maxConnections`; needs `fullConnections` of the
   *  pool. Default: `maxConnections`. Source: HP-76. */
  minConnections?: number
  /** Requests that may wait for this server alone, with `'hash'`. Default 0: no limit. Source: HP-76. */
  maxQueue?: number
  /** How long it takes from coming up until it has its full weight and limit. Default 0. */
  slowStartMs?: number
  /** TLS to it; `true` trusts whom Node trusts. */
  tls?: boolean | TlsClientOptions | TlsContext
  /** Health checks of its own, or false for none. Default: those of the pool. */
  check?: HealthCheckOptions | false
  /** How it begins. Default `'ready'`. */
  state?: UpstreamAdminState
}

/** Options of {@link UpstreamPool}. Times are milliseconds. */
export interface UpstreamPoolOptions {
  /** The servers; may be empty, and change later. Names differ. */
  servers: UpstreamServerOptions[]
  /** How one is chosen: `'roundRobin'` by weights in turn; `'leastConnections'` for its weight; `'random'`, the better of
   *  two drawn by weight; `'hash'`, the same server for the same `key`. Default `'roundRobin'`. */
  balance?: BalanceMethod
  /** Where connections are made. Default: the runtime that `connect()` uses. */
  runtime?: Runtime
  /** What connections are given, and how they are made. `connectTimeoutMs` is 5 000 there unless given, and bounds a TLS
   *  handshake by itself. */
  connect?: UpstreamConnectOptions
  /** Attempts after the first one, before anything was sent. Default 3. Source: HP-03. */
  retries?: number
  /** Whether another attempt goes to another server, where there is one. Default true. */
  redispatch?: boolean
  /** Bound on waiting for a place at a server. Default: `connect.connectTimeoutMs`; 0 for none. Source: HP-76, HP-105. */
  queueTimeoutMs?: number
  /** Requests that may wait altogether. Default 0: no limit. Source: HP-76. */
  maxQueue?: number
  /** Load of the pool at which servers have their full `maxConnections`. Source: HP-76. */
  fullConnections?: number
  /** Whether connections that were given back serve others: `'never'`; `'safe'`, not the first request of a session;
   *  `'aggressive'`, the first one too, on connections that have been shared before; `'always'`. Default `'safe'`. Source:
   *  HP-79. */
  reuse?: 'never' | 'safe' | 'aggressive' | 'always'
  /** Idle connections per server. Default: no bound but those below. Source: HP-77. */
  maxIdle?: number
  /** Idle connections per server beside what is needed. Default 0. Source: HP-77. */
  lowIdle?: number
  /** Every so often half of the idle connections that are not needed are closed. Default 5 000; 0 keeps none. Source: HP-78. */
  purgeDelayMs?: number
  /** Part of the process's descriptors in use from which no idle connection is kept. Default 0.25. Source: HP-77. */
  idleHighRatio?: number
  /** The same from which one per server has to do. Default 0.2. Source: HP-77. */
  idleLowRatio?: number
  /** Health checks of all servers that have none of their own; `true` connects and no more. Default false. */
  check?: boolean | HealthCheckOptions
  /** Failed attempts in a row that count as one bad check, at once; needs checks. Default 0: none. */
  errorLimit?: number
  /** What happens to connections in use when their server goes down. Default `'keep'`. */
  onDown?: 'keep' | 'close'
  /** Told of each step of each request. Source: HP-03. */
  onStep?: (step: AcquisitionStep) => void
  /** Told when a server changes between up and down, and from one administrative state to another. */
  onServerChange?: (change: UpstreamServerChange) => void
}

/** A server has become something else. */
export interface UpstreamServerChange {
  /** Its name. */
  server: string
  /** Whether it is well. */
  isUp: boolean
  /** Whether it may be used. */
  admin: UpstreamAdminState
  /** Why. */
  reason: string
}

/** What a connection is wanted for. All of it is optional. */
export interface AcquireOptions {
  /** What the same server is wanted for, with `'hash'`. */
  key?: string | Uint8Array
  /** The server to take, by name, if it is usable: a session that is to stay where it is. */
  server?: string
  /** Who is told of what comes. Default: nobody; it is read by `for await`, as a stream, or relayed. */
  handlers?: ConnectionHandlers
  /** Whether this is the first request of a session, see `reuse`. Default true. Source: HP-79. */
  first?: boolean
  /** Nobody else may ever have this connection. Default false. */
  private?: boolean
  /** Sent before everything else, also before TLS, e.g. a PROXY header. The connection is shared with the identical one
   *  alone. Source: HP-79. */
  preface?: Uint8Array
  /** Name to ask for in TLS, in place of the server's. The connection is shared with the same one alone. */
  serverName?: string
  /** Address to connect from. The connection is shared with the same one alone. */
  localAddress?: string
  /** A connection of the same runtime, to be relayed with this one: both are then of one loop, which makes the relay native.
   *  Default: whichever loop. */
  beside?: Connection
  /** Gives up when it aborts; does nothing once there is a connection. */
  signal?: AbortSignal
}

/** How long the connections in use may go on. */
export interface UpstreamDrainOptions {
  /** Then they are destroyed. Default 30 000; 0 waits for as long as they take. */
  timeoutMs?: number
}

// ---- Shapes

const tls = () => anything() as OptionalParser<boolean | TlsClientOptions | TlsContext | undefined>
const adminStates = ['ready', 'drain', 'maintenance'] as const
const port = () => optional(integer({ min: 1, max: 65_535 }))
const count = (max = 1_000_000_000) => integer({ min: 0, max, default: 0 })
const ratio = (value: number) => number({ min: 0, max: 1, default: value })

const status: Parser<number | number[]> = {
  allowed: 'a status from 100 to 599, or a list of them',
  parse(value, option) {
    const all = Array.isArray(value) ? value : [value]
    const isGood = (each: unknown) => Number.isInteger(each) && (each as number) >= 100 && (each as number) <= 599
    if (all.length > 0 && all.every(isGood)) return value as number | number[]
    throw expected(this.allowed, value, option)
  },
}

// What would end the line it stands in would be a request of its own.
const headerText = (allowed: string, pattern: RegExp): Parser<string> => ({
  allowed,
  parse(value, option) {
    if (typeof value === 'string' && pattern.test(value)) return value
    throw expected(allowed, value, option)
  },
})

const httpShape = {
  method: withDefault(headerText('a method of HTTP, in letters', /^[A-Za-z]{1,20}$/), 'GET'),
  path: withDefault(headerText('a path that begins with / and has no spaces', /^\/[\x21-\x7e]{0,2000}$/), '/'),
  host: optional(headerText('a host without spaces', /^[\x21-\x7e]{1,255}$/)),
  status: optional(status),
} satisfies Shape<HttpCheckOptions>

const checkShape = {
  intervalMs: milliseconds({ min: 1, default: 2000 }),
  fastIntervalMs: optional(milliseconds({ min: 1 })),
  downIntervalMs: optional(milliseconds({ min: 1 })),
  timeoutMs: optional(milliseconds({ min: 1 })),
  rise: integer({ min: 1, max: 1000, default: 2 }),
  fall: integer({ min: 1, max: 1000, default: 3 }),
  startUp: boolean({ default: true }),
  port: port(),
  tls: tls(),
  send: optional(either(string(), instanceOf(Uint8Array))),
  expect: optional(either(either(string(), instanceOf(Uint8Array)), instanceOf(RegExp))),
  http: optional({
    allowed: 'an object',
    parse: (value: unknown, option: string) => parse(httpShape, value, [], option),
  } satisfies Parser<HttpCheckOptions>),
  agent: optional(fn<NonNullable<HealthCheckOptions['agent']>>()),
} satisfies Shape<HealthCheckOptions>

const checkRules = [excludes('http', ['send', 'expect', 'agent']), excludes('agent', ['send', 'expect', 'tls', 'port'])]

/** A checked {@link HealthCheckOptions}, every default in it. */
export interface CheckRules
  extends Omit<Parsed<typeof checkShape>, 'http' | 'fastIntervalMs' | 'downIntervalMs' | 'timeoutMs'> {
  fastIntervalMs: number
  downIntervalMs: number
  timeoutMs: number
  http: Parsed<typeof httpShape> | undefined
}

/** `false` for no checks. */
export const checkParser: Parser<CheckRules | false> = {
  allowed: 'true, false or options of a check',
  parse(value, option) {
    if (value === false) return false
    if (value !== true && (typeof value !== 'object' || value === null)) throw expected(this.allowed, value, option)
    const parsed = parse(checkShape, value === true ? {} : value, checkRules, option)
    const { intervalMs } = parsed
    return {
      ...parsed,
      fastIntervalMs: parsed.fastIntervalMs ?? intervalMs,
      downIntervalMs: parsed.downIntervalMs ?? intervalMs,
      timeoutMs: parsed.timeoutMs ?? intervalMs,
      http: parsed.http as Parsed<typeof httpShape> | undefined,
    }
  },
}

const serverShape = {
  name: optional(string({ maxLength: 255 })),
  host: string({ default: 'localhost' }),
  port: port(),
  path: optional(string({ abstract: true })),
  weight: integer({ min: 0, max: 256, default: 1 }),
  backup: boolean({ default: false }),
  maxConnections: count(),
  minConnections: optional(integer({ min: 1, max: 1_000_000_000 })),
  maxQueue: count(),
  slowStartMs: milliseconds({ default: 0 }),
  tls: tls(),
  check: optional(checkParser) as OptionalParser<HealthCheckOptions | false | undefined>,
  state: oneOf(adminStates, { default: 'ready' }),
} satisfies Shape<UpstreamServerOptions>

const serverRules = [
  requiresOneOf('port', 'path'),
  excludes('path', ['port', 'host']),
  requires('minConnections', 'maxConnections'),
]

/** A checked {@link UpstreamServerOptions}. */
export type ServerRules = Omit<Parsed<typeof serverShape>, 'name' | 'check'> & {
  name: string
  check: CheckRules | false | undefined
}

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function serverRulesOf(input: unknown, option: string): ServerRules {
  const parsed = parse(serverShape, input, serverRules, option)
  const { name, host, port, path, maxConnections, minConnections } = parsed
  if (minConnections !== undefined && minConnections > maxConnections)
    throw expected(`at most "maxConnections", ${maxConnections}`, minConnections, `${option}.minConnections`)
  return {
    ...parsed,
    name: name ?? formatEndpoint(path ?? host, path === undefined ? port : undefined),
    check: parsed.check as CheckRules | false | undefined,
  }
}

const serversParser: Parser<UpstreamServerOptions[]> = {
  allowed: 'a list of servers',
  parse(value, option) {
    if (!Array.isArray(value)) throw expected(this.allowed, value, option)
    const rules = value.map((server, i) => serverRulesOf(server, `${option}[${i}]`))
    rules.forEach(({ name }, i) => {
      if (rules.findIndex((other) => other.name === name) < i)
        throw expected('different for each server', name, `${option}[${i}].name`)
    })
    return rules as unknown as UpstreamServerOptions[]
  },
}

export const poolShape = {
  servers: serversParser,
  balance: oneOf(balanceMethods, { default: 'roundRobin' }),
  runtime: optional(instanceOf(Runtime)),
  // src/connect-options.ts looks at it, when the pool is made.
  connect: anything() as OptionalParser<UpstreamConnectOptions | undefined>,
  retries: integer({ min: 0, max: 100, default: 3 }),
  redispatch: boolean({ default: true }),
  queueTimeoutMs: optional(milliseconds()),
  maxQueue: count(),
  fullConnections: optional(integer({ min: 1, max: 1_000_000_000 })),
  reuse: oneOf(['never', 'safe', 'aggressive', 'always'], { default: 'safe' }),
  maxIdle: optional(integer({ min: 0, max: 1_000_000_000 })),
  lowIdle: count(),
  purgeDelayMs: milliseconds({ default: 5000 }),
  idleHighRatio: ratio(0.25),
  idleLowRatio: ratio(0.2),
  check: withDefault(checkParser as Parser<boolean | HealthCheckOptions>, false),
  errorLimit: count(),
  onDown: oneOf(['keep', 'close'], { default: 'keep' }),
  onStep: optional(fn<NonNullable<UpstreamPoolOptions['onStep']>>()),
  onServerChange: optional(fn<NonNullable<UpstreamPoolOptions['onServerChange']>>()),
} satisfies Shape<UpstreamPoolOptions>

/** A checked {@link UpstreamPoolOptions}. */
export type PoolRules = Omit<Parsed<typeof poolShape>, 'servers' | 'check'> & {
  servers: ServerRules[]
  check: CheckRules | false
}

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function poolRulesOf(input: unknown, within = ''): PoolRules {
  const parsed = parse(poolShape, input, [], within) as unknown as PoolRules
  const nameOf = (option: string) => (within === '' ? option : `${within}.${option}`)
  if (parsed.idleLowRatio > parsed.idleHighRatio)
    throw expected(`at most "idleHighRatio", ${parsed.idleHighRatio}`, parsed.idleLowRatio, nameOf('idleLowRatio'))
  for (const [i, server] of parsed.servers.entries()) checkServer(server, parsed, nameOf(`servers[${i}]`))
  const isChecked = parsed.check !== false || parsed.servers.some(({ check }) => check)
  if (parsed.errorLimit > 0 && !isChecked) throw expected('0 without "check"', parsed.errorLimit, nameOf('errorLimit'))
  return parsed
}

/** What a server may not have in this pool. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function checkServer(server: ServerRules, pool: Pick<PoolRules, 'fullConnections'>, option: string): void {
  if (server.minConnections !== undefined && pool.fullConnections === undefined)
    throw expected('absent without "fullConnections"', server.minConnections, `${option}.minConnections`)
}

export const acquireShape = {
  key: optional(either(string(), instanceOf(Uint8Array))),
  server: optional(string()),
  handlers: anything() as OptionalParser<ConnectionHandlers | undefined>, // src/runtime.ts looks at them
  first: boolean({ default: true }),
  private: boolean({ default: false }),
  preface: optional(instanceOf(Uint8Array)),
  serverName: optional(string()),
  localAddress: optional(string()),
  beside: optional(instanceOf(Connection)),
  signal: optional(signal()),
} satisfies Shape<AcquireOptions>

/** A checked {@link AcquireOptions}. */
export type AcquireRules = Parsed<typeof acquireShape>

export const drainShape = { timeoutMs: milliseconds({ default: 30_000 }) } satisfies Shape<UpstreamDrainOptions>
export const adminState = oneOf(adminStates)
export const weightOption = integer({ min: 0, max: 256 })
