import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatEndpoint } from '../errors.js'
import { Relay } from '../relay.js'
import { CidrSet } from '../rules/cidr-set.js'
import { StickTable } from '../rules/stick-table.js'
import { parseCertificate } from '../tls/certificate.js'
import type { TlsContext } from '../tls/context.js'
import type { PemOrDer } from '../tls/parsers.js'
import { descriptorLimit } from '../upstream/descriptors.js'
import type { ProxyRule } from './config.js'
import type { Front } from './front.js'
import type { ListenerPlan, UpstreamPlan } from './plan.js'
import type { ProxyServer } from './proxy-server.js'
import type {
  ProxyCertificate,
  ProxyListenerStats,
  ProxyStats,
  ProxyTableStats,
  ProxyUpstreamStats,
} from './stats-types.js'
import type { TablePlan } from './tables.js'

const { version } = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')) as { version: string }

/** How a proxy stands, with the bytes of each session; loops are asked once, however many there are. */
export function proxyStats(proxy: ProxyServer): ProxyStats {
  const { runtime, plan, counts, startedAt } = proxy
  const cpu = process.cpuUsage()
  const memory = process.memoryUsage()
  const live = liveBytes(proxy)
  const openFiles = descriptorLimit()
  return {
    version,
    pid: process.pid,
    startedAt: startedAt.toISOString(),
    uptimeMs: Date.now() - startedAt.getTime(),
    state: proxy.isRunning ? 'running' : 'draining',
    engine: runtime.engine,
    threads: runtime.threads,
    cpu: { userMs: Math.round(cpu.user / 1000), systemMs: Math.round(cpu.system / 1000) },
    memory: { rssBytes: memory.rss, heapBytes: memory.heapUsed },
    reloads: { done: counts.reloads, failed: counts.failedReloads, lastError: proxy.lastReloadError },
    limits: {
      maxConnections: plan.runtime.maxConnections || undefined,
      openFiles: openFiles === Infinity ? undefined : openFiles,
    },
    sockets: runtime.connectionCount,
    listeners: [
      ...proxy.listeners.map((front) => listenerStats(front, proxy, false, live)),
      ...proxy.leaving.map((front) => listenerStats(front, proxy, true, live)),
    ],
    tables: [...plan.tables].map(([name, each]) => tableStats(name, each)),
    networks: [...plan.networks].map(([name, { set }]) => ({ name, networks: set.size })),
    upstreams: [...proxy.upstreams.values()].map(({ plan: each, pool }): ProxyUpstreamStats => {
      const { servers, ...totals } = pool.stats()
      return {
        name: each.name,
        balance: each.pool.balance ?? 'roundRobin',
        maxQueue: each.pool.maxQueue || undefined,
        socks: socksText(each),
        ...totals,
        servers: servers.map((server) => {
          const known = proxy.serverBytes.get(serverKey(each.name, server.name)) ?? [0, 0]
          const now = live.servers.get(serverKey(each.name, server.name)) ?? [0, 0]
          return { ...server, bytesIn: known[0] + now[0], bytesOut: known[1] + now[1] }
        }),
      }
    }),
  }
}

/** What names a server of an upstream. */
export function serverKey(upstream: string, server: string): string {
  return `${upstream}\0${server}`
}

interface LiveBytes {
  fronts: Map<Front, [number, number]>
  servers: Map<string, [number, number]>
}

function liveBytes(proxy: ProxyServer): LiveBytes {
  const live: LiveBytes = { fronts: new Map(), servers: new Map() }
  const fronts = [...proxy.listeners, ...proxy.leaving]
  const bytes = Relay.bytesOf(fronts.flatMap(({ sessions }) => [...sessions].flatMap(({ relay }) => relay ?? [])))
  for (const front of fronts) {
    const sum: [number, number] = [0, 0]
    live.fronts.set(front, sum)
    for (const session of front.sessions) {
      const { relay } = session
      if (session.upstream === undefined || session.server === undefined || relay === undefined) continue
      const [bytesIn, bytesOut] = bytes.get(relay)!
      const key = serverKey(session.upstream, session.server)
      const server = live.servers.get(key) ?? [0, 0]
      live.servers.set(key, [server[0] + bytesIn, server[1] + bytesOut])
      sum[0] += bytesIn
      sum[1] += bytesOut
    }
  }
  return live
}

function listenerStats(front: Front, proxy: ProxyServer, isGone: boolean, live: LiveBytes): ProxyListenerStats {
  const { plan, counts, sessions, rate } = front
  const socket = front.socketStats
  const { maxConnections, maxConnectionsPerSecond, tls } = plan.options
  const [bytesIn, bytesOut] = live.fronts.get(front)!
  const { address, port, path } = front.address
  return {
    name: front.name,
    address: path !== undefined ? formatEndpoint(path) : formatEndpoint(address!, port),
    state: isGone ? 'gone' : socket.state,
    tls: tls !== undefined,
    limits: {
      maxConnections: maxConnections || undefined,
      maxConnectionsPerSecond: maxConnectionsPerSecond || undefined,
    },
    sessions: {
      current: sessions.size,
      most: counts.most,
      total: counts.total,
      perSecond: rate.perSecond(proxy.runtime.nowMs()),
    },
    bytesIn: counts.bytesIn + bytesIn,
    bytesOut: counts.bytesOut + bytesOut,
    accepted: socket.accepted,
    acceptFailures: socket.acceptFailures,
    refused: counts.refused,
    handshakes: {
      done: socket.handshakesDone,
      failed: socket.handshakesFailed,
      underWay: socket.handshakesUnderWay,
      waiting: socket.handshakesWaiting,
    },
    handshakeFailures: { ...front.handshakeFailures },
    turnedAway: { ...socket.turnedAway },
    failures: { ...front.failures },
    rules: rulesOf(plan),
    certificates: tls === undefined ? [] : certificatesOf(tls as TlsContext),
  }
}

// A SOCKS server without who we are there.
function socksText({ pool: { connect } }: UpstreamPlan): string | undefined {
  const socks = connect?.socks
  return socks && formatEndpoint(socks.host ?? 'localhost', socks.port ?? 1080)
}

function rulesOf({ rules, ruleInputs }: ListenerPlan): { text: string; hits: number }[] {
  if (rules === undefined) return []
  const { hits } = rules
  return ruleInputs.map((rule, i) => ({ text: ruleText(rule), hits: hits[i] ?? 0 }))
}

// As it stands in the configuration, with the names of tables and lists.
function ruleText({ action, stage, when, ...rest }: ProxyRule): string {
  const shown = (value: unknown) =>
    JSON.stringify(value, (_, each) => {
      if (each instanceof StickTable) return 'a table'
      return each instanceof CidrSet ? 'a set of networks' : (each as unknown)
    })
  const more = Object.keys(rest).length === 0 ? '' : ` ${shown(rest)}`
  return `${stage === undefined ? '' : `${stage}: `}${action}${more}${when === undefined ? '' : ` when ${shown(when)}`}`
}

const looked = 1000
const shownKeys = 10

function tableStats(name: string, { table, exchange: plan }: TablePlan): ProxyTableStats {
  const { entries, size, inUse, tracked, untracked, purged, expired, exchange } = table.stats()
  const found: { key: string; tracking: number }[] = []
  let count = 0
  for (const { key, tracking } of table) {
    if (tracking > 0) found.push({ key: Buffer.isBuffer(key) ? key.toString('hex') : String(key), tracking })
    if (++count === looked) break
  }
  const busiest = found.sort((a, b) => b.tracking - a.tracking).slice(0, shownKeys)
  return {
    ...{ name, entries, size, inUse, tracked, untracked, purged, expired, busiest },
    exchange: exchange && { ...exchange, name: plan!.name, error: exchange.error?.message },
  }
}

// Reading a certificate takes a while, and it does not change within its context.
const known = new WeakMap<TlsContext, Omit<ProxyCertificate, 'daysLeft'>[]>()

function certificatesOf(context: TlsContext): ProxyCertificate[] {
  let list = known.get(context)
  if (list === undefined) {
    const { sni } = context.input as { sni?: Record<string, { cert?: unknown } | TlsContext> }
    list = [
      ...read(context.input.cert, '*'),
      ...Object.entries(sni ?? {}).flatMap(([name, each]) => read((each as { cert?: unknown }).cert, name)),
    ]
    known.set(context, list)
  }
  return list.map((each) => ({
    ...each,
    daysLeft: Math.floor((Date.parse(each.validTo) - Date.now()) / 86_400_000),
  }))
}

function read(value: unknown, shownFor: string): Omit<ProxyCertificate, 'daysLeft'>[] {
  const all = value === undefined ? [] : Array.isArray(value) ? value : [value]
  return all.map((cert) => {
    const { subject, dnsNames, ipAddresses, validTo, fingerprint256 } = parseCertificate(cert as PemOrDer)
    const names = [...dnsNames, ...ipAddresses]
    return { shownFor, subject, names, validTo: validTo.toISOString(), fingerprint256 }
  })
}
