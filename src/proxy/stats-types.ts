import type { UpstreamPoolStats, UpstreamServerStats } from '../upstream/stats.js'

/** All that a proxy tells of itself, as `/stats.json` does. Times are milliseconds, sizes bytes. */
export interface ProxyStats {
  version: string
  pid: number
  /** ISO 8601. */
  startedAt: string
  uptimeMs: number
  /** `'draining'`: it takes no more connections. */
  state: 'running' | 'draining'
  engine: string
  threads: number
  /** Of this process, since it began. */
  cpu: { userMs: number; systemMs: number }
  memory: { rssBytes: number; heapBytes: number }
  /** Configurations put in place, and those that were refused. */
  reloads: { done: number; failed: number; lastError: string | undefined }
  limits: { maxConnections: number | undefined; openFiles: number | undefined }
  /** Sockets of connections, to clients and to servers. */
  sockets: number
  listeners: ProxyListenerStats[]
  upstreams: ProxyUpstreamStats[]
  tables: ProxyTableStats[]
  /** Lists that rules, routes and listeners name. */
  networks: { name: string; networks: number }[]
}

/** A port. */
export interface ProxyListenerStats {
  name: string
  /** As `127.0.0.1:80`, or a path. */
  address: string
  /** `'gone'`: by a reload, and with sessions still. */
  state: 'accepting' | 'waiting' | 'backingOff' | 'closed' | 'gone'
  tls: boolean
  limits: { maxConnections: number | undefined; maxConnectionsPerSecond: number | undefined }
  sessions: { current: number; most: number; total: number; perSecond: number }
  /** From clients, and to them. */
  bytesIn: number
  bytesOut: number
  accepted: number
  acceptFailures: number
  /** Sessions for which there was no route. */
  refused: number
  handshakes: { done: number; failed: number; underWay: number; waiting: number }
  /** Handshakes that failed, by code. */
  handshakeFailures: Record<string, number>
  /** Connections that a step before the session turned away, by reason. */
  turnedAway: Record<string, number>
  /** Sessions that failed, by code. */
  failures: Record<string, number>
  certificates: ProxyCertificate[]
  /** In order, with how often each was carried out. */
  rules: { text: string; hits: number }[]
}

/** A table that rules count in. */
export interface ProxyTableStats {
  name: string
  entries: number
  size: number
  inUse: number
  tracked: number
  untracked: number
  purged: number
  expired: number
  /** How it exchanges with those of other machines; undefined where it does not. */
  exchange: ProxyExchangeStats | undefined
  /** Keys that most connections are counted in now, ten at most, of the first thousand entries. */
  busiest: { key: string; tracking: number }[]
}

/** How a table exchanges, see `TableExchangeStats`. */
export interface ProxyExchangeStats {
  name: string
  state: 'starting' | 'exchanging' | 'unreachable' | 'closed'
  exchanges: number
  failures: number
  sentBytes: number
  receivedBytes: number
  refused: number
  peers: number
  /** Why the others are unreachable. */
  error: string | undefined
}

/** A certificate that a port shows. */
export interface ProxyCertificate {
  /** The names it is shown for; `'*'` for all others. */
  shownFor: string
  subject: string
  names: string[]
  /** ISO 8601. */
  validTo: string
  daysLeft: number
  fingerprint256: string
}

/** An upstream. */
export interface ProxyUpstreamStats extends Omit<UpstreamPoolStats, 'servers'> {
  name: string
  balance: string
  maxQueue: number | undefined
  /** The SOCKS server between, as `127.0.0.1:1080`. */
  socks: string | undefined
  servers: (UpstreamServerStats & { bytesIn: number; bytesOut: number })[]
}
