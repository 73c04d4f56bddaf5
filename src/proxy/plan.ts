import { isIP } from 'node:net'
import { SluiceError } from '../errors.js'
import type { SocksServer } from '../handshake/connect-shorthand.js'
import { socksTo } from '../handshake/connect-steps.js'
import type { ListenOptions } from '../listener.js'
import {
  anything,
  boolean,
  excludes,
  expected,
  integer,
  milliseconds,
  nearest,
  type OptionalParser,
  oneOf,
  optional,
  parse,
  requiresOneOf,
  string,
} from '../options.js'
import { type ByteSize, byteSize } from '../rate-limit/byte-size.js'
import { KeyedRateLimitGroups } from '../rate-limit/keyed-rate-limit-groups.js'
import { RateLimit } from '../rate-limit/rate-limit.js'
import { RateLimitGroup } from '../rate-limit/rate-limit-group.js'
import { type RelayBounds, relayBounds } from '../relay.js'
import type { RuleList } from '../rules/rule-list.js'
import type { RuntimeOptions } from '../runtime-options.js'
import { socketOptions } from '../socket-options.js'
import { TlsContext } from '../tls/context.js'
import { clientTls } from '../tls/setup.js'
import { poolRulesOf, type UpstreamPoolOptions, type UpstreamServerOptions } from '../upstream/options.js'
import type { ProxyConfig, ProxyRule, ProxySendChoice } from './config.js'
import { type NetworkList, namedSet, networkListsOf } from './network-lists.js'
import { type Networks, networksParser } from './networks.js'
import { checkSendProxy, inside, type Named, openingPlan, sendsUniqueId } from './openings.js'
import { socksOf } from './socks.js'
import { type RedisPlan, redisOf, type TablePlan, tablesOf } from './tables.js'
import { withFiles } from './tls-files.js'

/** Where a socket listens. */
export type Where = { host?: string; port: number } | { path: string }

/** Which clients go to an upstream. */
export interface RoutePlan {
  readonly serverNames: readonly string[] | undefined
  readonly alpn: readonly string[] | undefined
  readonly tls: boolean | undefined
  readonly from: Networks | undefined
  readonly to: string
}

/** A listener, checked and ready to be bound. */
export interface ListenerPlan {
  /** Undefined: by its address, once that is known. */
  readonly name: string | undefined
  readonly where: Where
  /** What makes a socket the same one, before and after a reload, here and in a successor. */
  readonly key: string
  /** All but where. */
  readonly options: Partial<ListenOptions>
  readonly routes: readonly RoutePlan[]
  /** For all others; undefined refuses them. */
  readonly to: string | undefined
  readonly rules: RuleList | undefined
  /** The rules as they were given. */
  readonly ruleInputs: readonly ProxyRule[]
  readonly relay: RelayBounds
  /** All that it was made of: compared to see whether a reload has changed it. */
  readonly source: unknown
}

/** An upstream, checked. */
export interface UpstreamPlan {
  readonly name: string
  readonly pool: UpstreamPoolOptions
  readonly sendProxy: ProxySendChoice | undefined
  readonly hashBy: 'address' | 'serverName'
  readonly isHashed: boolean
  /** Whether sessions may fail in ways worth a line when both sides are gone. */
  readonly failsLate: boolean
  /** Whether sessions get a name that servers are told. */
  readonly namesSessions: boolean
  /** What it was made of, without and with its servers. */
  readonly source: { rest: unknown; servers: unknown }
}

/** A checked {@link ProxyConfig}: nothing in it can be wrong any more, but for what only the system knows. */
export interface ProxyPlan {
  readonly listeners: readonly ListenerPlan[]
  readonly upstreams: readonly UpstreamPlan[]
  readonly tables: ReadonlyMap<string, TablePlan>
  /** Where tables that exchange meet. */
  readonly redis: RedisPlan | undefined
  /** Lists that rules and listeners name. */
  readonly networks: ReadonlyMap<string, NetworkList>
  readonly runtime: RuntimeOptions
  readonly stats: Where | undefined
  readonly drainTimeoutMs: number
  readonly handOver: string | undefined
  readonly log: 'none' | 'failures' | 'sessions'
}

const any = () => anything() as OptionalParser<unknown>
const limit = () => integer({ min: 0, max: 1_000_000_000, default: 0 })
const text = () => optional(string())

const shape = {
  listeners: any(),
  upstreams: any(),
  tables: any(),
  redis: any(),
  networks: any(),
  engine: optional(oneOf(['auto', 'io_uring', 'epoll', 'kqueue', 'poll'])),
  threads: integer({ min: 0, max: 64, default: 0 }),
  handshakeThreads: integer({ min: 0, max: 64, default: 0 }),
  maxConnections: limit(),
  stats: any(),
  drainTimeoutMs: milliseconds({ default: 30_000 }),
  handOver: optional(string()),
  log: oneOf(['none', 'failures', 'sessions'], { default: 'failures' }),
}

/**
 * Checks a configuration, with all that it refers to; binds nothing.
 *
 * @param folder where relative names of files begin.
 * @param former the plan in force: its tables stay where their options do.
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` and `ERR_SLUICE_TLS_…`; `option` is the path to the mistake.
 */
export function planOf(config: unknown, folder: string, former?: ProxyPlan): ProxyPlan {
  const {
    listeners,
    upstreams,
    tables: tableOptions,
    redis: redisOptions,
    networks: lists,
    stats,
    handOver,
    drainTimeoutMs,
    log,
    ...runtime
  } = parse(shape, config)
  if (typeof upstreams !== 'object' || upstreams === null || Array.isArray(upstreams))
    throw expected('an object of upstreams by name', upstreams, 'upstreams')
  if (!Array.isArray(listeners) || listeners.length === 0)
    throw expected('a list of at least one listener', listeners, 'listeners')
  const names = Object.keys(upstreams as ProxyConfig['upstreams'])
  const planned = Object.entries(upstreams).map(([name, each]) => upstreamPlan(name, each, folder))
  const redis = redisOf(redisOptions)
  const tables = tablesOf(tableOptions, redis, former?.tables)
  if (redis !== undefined && [...tables.values()].every(({ exchange }) => exchange === undefined))
    throw refused('redis', 'is for tables with "exchange", of which there are none')
  const networks = networkListsOf(lists, folder, former?.networks)
  const named = { tables: new Map([...tables].map(([name, { table }]) => [name, table])), networks }
  const plans = listeners.map((each, i) => listenerPlan(each, `listeners[${i}]`, names, named, folder))
  for (const [i, { key, name }] of plans.entries()) {
    // Port 0 is another one each time.
    const same = plans.findIndex((other) => other.key === key && !key.endsWith(':0'))
    if (same < i && same >= 0) throw expected(`another address than that of listeners[${same}]`, key, `listeners[${i}]`)
    const called = plans.findIndex((other) => other.name === name)
    if (called < i && name !== undefined) throw expected('different for each listener', name, `listeners[${i}].name`)
  }
  return {
    ...{ listeners: plans, upstreams: planned, tables, redis, networks, runtime, drainTimeoutMs, handOver, log },
    stats: stats === undefined ? undefined : whereOf(parse(whereShape, stats, whereRules, 'stats')),
  }
}

// ---- Listeners

const whereShape = {
  host: string({ default: '127.0.0.1' }),
  port: optional(integer({ min: 0, max: 65_535 })),
  path: optional(string({ abstract: true })),
}
const whereRules = [requiresOneOf('port', 'path'), excludes('path', ['port', 'host'])]

function whereOf({ host, port, path }: { host: string; port?: number | undefined; path?: string | undefined }): Where {
  if (path !== undefined) return { path }
  return host === '*' ? { port: port! } : { host, port: port! }
}

/** What makes a socket the same one. */
export function keyOf(where: Where): string {
  return 'path' in where ? where.path.replace(/^\0/, '@') : `${bracketed(where.host ?? '*')}:${where.port}`
}

function bracketed(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host
}

const listenerShape = {
  ...whereShape,
  name: optional(string({ maxLength: 255 })),
  backlog: integer({ min: 1, max: 65_535, default: 511 }),
  maxConnections: limit(),
  maxConnectionsPerSecond: limit(),
  tls: any(),
  plain: optional(oneOf(['refuse', 'allow'])),
  acceptProxy: any(),
  acceptNetscaler: any(),
  monitor: any(),
  rules: any(),
  inspectDelayMs: optional(milliseconds()),
  handshakeTimeoutMs: optional(milliseconds()),
  rateLimit: any(),
  totalRateLimit: any(),
  addressRateLimit: any(),
  routes: any(),
  to: text(),
  clientTimeoutMs: milliseconds({ default: 0 }),
  tunnelTimeoutMs: milliseconds({ default: 3_600_000 }),
  finTimeoutMs: milliseconds({ default: 30_000 }),
  socket: any(),
}

function listenerPlan(
  input: unknown,
  within: string,
  upstreams: readonly string[],
  named: Named,
  folder: string,
): ListenerPlan {
  const options = parse(listenerShape, input, whereRules, within)
  const where = whereOf(options)
  const key = keyOf(where)
  const { backlog, maxConnections, maxConnectionsPerSecond, clientTimeoutMs, tunnelTimeoutMs, finTimeoutMs } = options
  const tls = options.tls === undefined ? undefined : withFiles(options.tls, `${within}.tls`, folder)
  if (tls === undefined && options.plain !== undefined)
    throw expected(`absent without "${within}.tls"`, options.plain, `${within}.plain`)
  if (options.socket !== undefined) parse(socketOptions, options.socket, [], `${within}.socket`)
  const routes = routesOf(options.routes, `${within}.routes`, upstreams, named)
  const to = options.to ?? (upstreams.length === 1 ? upstreams[0] : undefined)
  if (to !== undefined) checkUpstream(to, `${within}.to`, upstreams)
  if (to === undefined && routes.length === 0) {
    const known = upstreams.length === 0 ? 'there are no upstreams' : `upstreams are ${upstreams.join(', ')}`
    throw refused(`${within}.to`, `is missing, as is "${within}.routes"; ${known}`)
  }
  const peeks =
    tls === undefined &&
    routes.some(({ serverNames, alpn, tls: wantsTls }) => serverNames ?? alpn ?? wantsTls !== undefined)
  const opening = openingPlan(options, within, peeks, named)
  // Where TLS is all there is before the session.
  if (tls !== undefined && opening.options.handshake === undefined)
    tls.handshakeTimeoutMs ??= options.handshakeTimeoutMs
  return {
    ...{ name: options.name, where, key, routes, to, rules: opening.rules },
    ruleInputs: (options.rules ?? []) as ProxyRule[],
    options: {
      ...(options.socket as object | undefined),
      ...{ backlog, maxConnections, maxConnectionsPerSecond },
      ...{ allowHalfOpen: true, readTimeoutMs: clientTimeoutMs, writeTimeoutMs: clientTimeoutMs },
      ...ratesOf(options, within),
      ...opening.options,
      tls: tls && TlsContext.make('server', tls, `${within}.tls`),
    },
    relay: relayBounds({ tunnelTimeoutMs, finTimeoutMs }),
    source: sourceOf(input, tls),
  }
}

// Files may have changed where their names have not; a certificate made now is as good as the last one.
function sourceOf(input: unknown, ...resolved: unknown[]): unknown {
  return { input, resolved: (input as { tls?: { selfSigned?: unknown } }).tls?.selfSigned ? [] : resolved }
}

function ratesOf(
  options: { rateLimit: unknown; totalRateLimit: unknown; addressRateLimit: unknown },
  within: string,
): Partial<ListenOptions> {
  const of = (name: keyof typeof options) =>
    options[name] === undefined ? undefined : rateLimitOf(options[name], `${within}.${name}`)
  const [own, total, byAddress] = [of('rateLimit'), of('totalRateLimit'), of('addressRateLimit')]
  const all = total && new RateLimitGroup({ limit: total })
  const group = byAddress ? new KeyedRateLimitGroups({ limit: byAddress, parent: all }) : all
  return { ...(own && { rateLimit: own }), ...(group && { rateLimitGroup: group }) }
}

const ratesShape = { read: optional(byteSize), write: optional(byteSize) }

function rateLimitOf(value: unknown, within: string): RateLimit {
  if (typeof value === 'object') return RateLimit.bytesPerSecond(parse(ratesShape, value, [requiresOneOf('read', 'write')], within)) // biome-ignore format: one line
  return RateLimit.bytesPerSecond(byteSize.parse(value, within) as ByteSize)
}

const routeShape = {
  serverNames: any(),
  alpn: any(),
  tls: optional(boolean()),
  from: any(),
  to: string(),
}

function routesOf(input: unknown, within: string, upstreams: readonly string[], { networks }: Named): RoutePlan[] {
  if (input === undefined) return []
  if (!Array.isArray(input)) throw expected('a list of routes', input, within)
  return input.map((each, i) => {
    const option = `${within}[${i}]`
    const route = parse(routeShape, each, [requiresOneOf('serverNames', 'alpn', 'tls', 'from')], option)
    checkUpstream(route.to, `${option}.to`, upstreams)
    return {
      ...{ tls: route.tls, to: route.to },
      from: route.from === undefined ? undefined : networksParser.parse(namedSet(route.from, `${option}.from`, networks) ?? route.from, `${option}.from`), // biome-ignore format: one line
      serverNames: wordsOf(route.serverNames, /^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/i, 'a name, or *. and a name', `${option}.serverNames`)?.map((name) => name.toLowerCase()), // biome-ignore format: one line
      alpn: wordsOf(route.alpn, /^[\x21-\x7e]{1,255}$/, 'a protocol', `${option}.alpn`),
    }
  })
}

function wordsOf(value: unknown, pattern: RegExp, allowed: string, option: string): string[] | undefined {
  if (value === undefined) return undefined
  if (!Array.isArray(value) || value.length === 0) throw expected(`a list, each ${allowed}`, value, option)
  return value.map((word, i) => {
    if (typeof word !== 'string' || !pattern.test(word)) throw expected(allowed, word, `${option}[${i}]`)
    return word
  })
}

function checkUpstream(name: string, option: string, known: readonly string[]): void {
  if (known.includes(name)) return
  const guess = nearest(name, known)
  const hint = guess ? `did you mean "${guess}"?` : `known are ${known.join(', ')}`
  throw refused(option, `names no upstream: '${name}'; ${known.length === 0 ? 'there are none' : hint}`)
}

// ---- Upstreams

const upstreamShape = {
  servers: any(),
  tls: any(),
  sendProxy: any(),
  socks: any(),
  hashBy: oneOf(['address', 'serverName'], { default: 'address' }),
  connectTimeoutMs: milliseconds({ default: 5000 }),
  serverTimeoutMs: milliseconds({ default: 0 }),
}
// What the pool looks at itself; connections of a relay are never shared.
const ofPool = [
  ...['balance', 'retries', 'redispatch', 'queueTimeoutMs', 'maxQueue', 'fullConnections', 'check', 'errorLimit'],
  'onDown',
]

function upstreamPlan(name: string, input: unknown, folder: string): UpstreamPlan {
  const within = /^[\w-]+$/.test(name) ? `upstreams.${name}` : `upstreams[${JSON.stringify(name)}]`
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw expected('an object with "servers"', input, within)
  const passed = Object.fromEntries(ofPool.map((option) => [option, (input as Record<string, unknown>)[option]]))
  const all = { ...upstreamShape, ...Object.fromEntries(ofPool.map((option) => [option, any()])) }
  const own = parse(all, input, [], within) as { [K in keyof typeof upstreamShape]: unknown }
  const { connectTimeoutMs, serverTimeoutMs, hashBy, sendProxy } = own
  const socks = socksOf(own.socks, `${within}.socks`)
  const tls = tlsOf(own.tls, `${within}.tls`, folder)
  if (!Array.isArray(own.servers) || own.servers.length === 0)
    throw expected('a list of at least one server', own.servers, `${within}.servers`)
  const servers = own.servers.map((server, i) => serverOptions(server, tls, `${within}.servers[${i}]`, folder))
  const connect = { connectTimeoutMs, readTimeoutMs: serverTimeoutMs, writeTimeoutMs: serverTimeoutMs, allowHalfOpen: true, socks } as NonNullable<UpstreamPoolOptions['connect']> // biome-ignore format: one line
  checkSendProxy(sendProxy, `${within}.sendProxy`)
  const pool: UpstreamPoolOptions = { ...passed, check: checkWith(passed.check, sendProxy), servers, connect, reuse: 'never' } // biome-ignore format: one line
  for (const [i, { tls: each, host, port, path }] of poolRulesOf(pool, within).servers.entries()) {
    // Wrong options of TLS are found now, not at the first connection.
    const peer = path === undefined ? { host, port } : { host: 'localhost', port: path }
    if (each !== undefined && each !== false) clientTls(each, peer, `${within}.servers[${i}].tls`)
    if (socks !== undefined) checkSocks(socks, { host, port, path }, within, `${within}.servers[${i}]`)
  }
  return {
    ...{ name, pool, sendProxy: sendProxy as ProxySendChoice | undefined, hashBy: hashBy as UpstreamPlan['hashBy'] },
    isHashed: passed.balance === 'hash',
    namesSessions: sendsUniqueId(sendProxy as ProxySendChoice | undefined),
    failsLate: serverTimeoutMs !== 0 || servers.some((server) => server.tls !== undefined && server.tls !== false),
    source: { rest: { ...input, servers: undefined, tls: undefined }, servers },
  }
}

// Servers that expect a header expect it of checks too.
function checkWith(check: unknown, sendProxy: unknown): UpstreamPoolOptions['check'] {
  const options = check === true ? {} : check
  const isOwn = typeof options !== 'object' || options === null || 'sendProxy' in options || 'agent' in options
  if (sendProxy === undefined || isOwn) return check as UpstreamPoolOptions['check']
  const version =
    typeof sendProxy === 'string' ? Number(sendProxy.slice(1)) : (sendProxy as { version?: number }).version
  return { ...options, sendProxy: (version ?? 2) as 1 | 2 }
}

// SOCKS of one version or the other cannot ask for everything.
function checkSocks(
  socks: SocksServer,
  { host, port, path }: { host: string; port: number | undefined; path: string | undefined },
  within: string,
  server: string,
): void {
  if (path !== undefined) throw expected(`a port: a SOCKS server reaches no paths`, path, `${server}.path`)
  try {
    socksTo({ version: 5, ...socks }, { host, port: port! })
  } catch (error) {
    const isHosts = (error as SluiceError).option === 'host'
    inside(isHosts ? server : within, () => {
      throw error
    })
  }
}

function serverOptions(input: unknown, tls: unknown, within: string, folder: string): UpstreamServerOptions {
  const server = typeof input === 'string' ? addressOf(input, within) : (input as UpstreamServerOptions)
  if (typeof server !== 'object' || server === null) throw expected('an address, or options of a server', input, within)
  const own = tlsOf((server as { tls?: unknown }).tls, `${within}.tls`, folder)
  return { ...server, tls: (own ?? tls) as UpstreamServerOptions['tls'] }
}

function tlsOf(value: unknown, within: string, folder: string): unknown {
  if (value === undefined || typeof value === 'boolean') return value
  return withFiles(value, within, folder)
}

/** `127.0.0.1:80`, `[::1]:80`, `name:80`, `/path` or `@name`. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function addressOf(text: string, option: string): { host: string; port: number } | { path: string } {
  if (text.startsWith('/') || text.startsWith('./')) return { path: text }
  if (text.startsWith('@') && text.length > 1) return { path: `\0${text.slice(1)}` }
  const found = /^(?:\[([0-9a-f:.%\w]+)\]|([^:[\]\s/]+)):(\d{1,5})$/i.exec(text)
  const port = Number(found?.[3])
  if (found === null || port < 1 || port > 65_535)
    throw expected('an address such as 127.0.0.1:80, [::1]:80, name:80, /path or @name', text, option)
  return { host: found[1] ?? found[2]!, port }
}

function refused(option: string, why: string): SluiceError {
  return new SluiceError('INVALID_OPTION', { phase: 'options', option, detail: `option "${option}" ${why}` })
}
