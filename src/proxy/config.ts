import type { EngineName } from '../engines.js'
import type { AcceptNetscalerOptions, AcceptProxyOptions, MonitorOptions } from '../handshake/accept-steps.js'
import type { SocksServer } from '../handshake/connect-shorthand.js'
import type { ProxySendOptions } from '../handshake/proxy-options.js'
import type { CidrSet } from '../rules/cidr-set.js'
import type { Rule } from '../rules/rule.js'
import type { StickTable, StickTableOptions } from '../rules/stick-table.js'
import type { SocketOptions } from '../socket-options.js'
import type { TlsClientOptions, TlsServerOptions } from '../tls/options.js'
import type { UpstreamPoolOptions, UpstreamServerOptions } from '../upstream/options.js'

/** Files in place of what `cert`, `key` and so on would hold; relative ones are looked for beside the configuration. */
export interface TlsFiles {
  /** File of `cert`, PEM or DER; several in a list. */
  certFile?: string | string[]
  /** File of `key`, likewise. */
  keyFile?: string | string[]
  /** File of `ca`, likewise. */
  caFile?: string | string[]
  /** File of `crl`, likewise. */
  crlFile?: string | string[]
}

/** TLS towards clients. `certFile` or `cert`, or `selfSigned`. */
export interface ProxyTlsOptions extends Omit<TlsServerOptions, 'sni'>, TlsFiles {
  /** A certificate made now, for tests and first steps: for these names. */
  selfSigned?: boolean | string[]
  /** The same by the name that the client asks for: `'a.example'`, `'*.b.example'`, `'!x.b.example'`. */
  sni?: Record<string, Omit<ProxyTlsOptions, 'sni' | 'sniStrict'>>
}

/** TLS towards servers. */
export type ProxyClientTlsOptions = TlsClientOptions & TlsFiles

/** A server of an upstream. */
export interface ProxyServerOptions extends Omit<UpstreamServerOptions, 'tls'> {
  /** TLS to it; `true` trusts whom Node trusts. Default: as the upstream has it. */
  tls?: boolean | ProxyClientTlsOptions
}

/** Which PROXY header servers get, about the client. */
export type ProxySendChoice =
  | 'v1'
  | 'v2'
  | (Omit<ProxySendOptions, 'onBehalfOf' | 'source' | 'destination' | 'local' | 'tlvs' | 'uniqueId'> & {
      /** What the session is called: by the header that it came with, or else by a name made for it. Version 2. Default false.
       *  Source: HP-42. */
      uniqueId?: boolean
    })

/** Servers that stand in for each other. Times are milliseconds. */
export interface ProxyUpstreamOptions
  extends Omit<UpstreamPoolOptions, 'servers' | 'runtime' | 'onStep' | 'onServerChange' | 'reuse' | 'connect'> {
  /** The servers; `'127.0.0.1:9000'` and `'/run/app.sock'` are short for their addresses. */
  servers: (string | ProxyServerOptions)[]
  /** TLS to all servers that do not say otherwise. */
  tls?: boolean | ProxyClientTlsOptions
  /** A PROXY header to the server, about the client; health checks send one that speaks for ourselves. Default: none. */
  sendProxy?: ProxySendChoice
  /** A SOCKS server through which all servers are connected to and checked: `'127.0.0.1:1080'`,
   *  `'socks5://user:password@host'`, `'socks4://user@host'`, or options. Default: none. Source: HP-49. */
  socks?: string | SocksServer
  /** What the same server is kept for, with `balance: 'hash'`: the client's address, or the name it asks for in TLS. Default
   *  `'address'`. */
  hashBy?: 'address' | 'serverName'
  /** Bound on connecting to a server. Default 5 000. Source: HP-100. */
  connectTimeoutMs?: number
  /** Bound on silence of the server while it is read. Default 0: none. Source: HP-101. */
  serverTimeoutMs?: number
}

/** A {@link Rule} in which names stand for tables and for lists of networks. */
export type ProxyRule = NamedTables<Rule>

/** Options in which the name of a list may stand for networks. */
export type NamedNetworks<T, K extends keyof T> = Omit<T, K> & { [P in K]?: T[P] | string }

type NamedTables<T> = T extends StickTable
  ? string
  : T extends Uint8Array | CidrSet
    ? T
    : T extends object
      ? { [K in keyof T]: NamedTables<T[K]> }
      : T

/** Which clients go where: all that is given has to fit. */
export interface ProxyRoute {
  /** Names asked for in TLS: `'a.example'`, or `'*.b.example'` for one label more. Where TLS does not end here, they are
   *  read from the client's first bytes, for which it is waited. */
  serverNames?: string[]
  /** Application protocols agreed on in TLS, or offered where TLS does not end here. */
  alpn?: string[]
  /** Whether the client speaks TLS. */
  tls?: boolean
  /** Addresses and networks of clients, or the name of a list of them; those claimed by a header, where one was read. */
  from?: string[] | string
  /** The upstream, by name. */
  to: string
}

/** A port, and what becomes of those who connect to it. */
export interface ProxyListenerOptions {
  /** What it is called in statistics. Default: its address and port. */
  name?: string
  /** Address to listen on. Default `'127.0.0.1'`; `'*'` for all of them. */
  host?: string
  /** Port, 0 to 65 535. Either `port` or `path`. */
  port?: number
  /** Path of a Unix socket. */
  path?: string
  /** Connections the kernel may queue. Default 511. */
  backlog?: number
  /** Connections open at once; further ones wait in the kernel. Default 0: no limit. Source: HP-71. */
  maxConnections?: number
  /** New connections per second; further ones wait in the kernel. Default 0: no limit. Source: HP-71. */
  maxConnectionsPerSecond?: number
  /** TLS ends here. Default: what comes is passed on as it is. */
  tls?: ProxyTlsOptions
  /** With `tls`: whether the port serves those too who do not speak TLS. Default `'refuse'`. Source: SV-01. */
  plain?: 'refuse' | 'allow'
  /** A PROXY header is expected of everybody, or of those listed. Default: of nobody; it is never guessed. Source: HP-30. */
  acceptProxy?: boolean | NamedNetworks<AcceptProxyOptions, 'from'>
  /** The client-IP header of a Citrix NetScaler is expected, of everybody or of those listed: its magic number, or options.
   *  Beside `acceptProxy` only where both have `from`. Default: of nobody. Source: HP-50. */
  acceptNetscaler?: number | NamedNetworks<AcceptNetscalerOptions, 'from'>
  /** Health checks of balancers in front of us, answered before all else. Source: HP-18, HP-19. */
  monitor?: NamedNetworks<MonitorOptions, 'networks'>
  /** Who is let in, held, or counted; tables and lists of networks stand in them by their names. Default: everybody. */
  rules?: ProxyRule[]
  /** How long rules of the stage `'content'` wait for content. Default 5 000. Source: HP-56. */
  inspectDelayMs?: number
  /** Bound on all that comes before the session, TLS included. Default 10 000. Source: HP-16. */
  handshakeTimeoutMs?: number
  /** Bytes per second of each connection, e.g. `'1 MB'`. Default: no limit. */
  rateLimit?: ProxyRates
  /** Bytes per second of all connections together. Default: no limit. */
  totalRateLimit?: ProxyRates
  /** Bytes per second of all connections of a client's address together. Default: no limit. */
  addressRateLimit?: ProxyRates
  /** Where clients go: the first route that fits. */
  routes?: ProxyRoute[]
  /** Where all others go: an upstream, by name. Default: the only upstream there is; else they are refused. */
  to?: string
  /** Bound on silence of the client while it is read. Default 0: none. Source: HP-101. */
  clientTimeoutMs?: number
  /** Bound on silence in both directions, once both have carried something. Default 3 600 000; 0 for none. Source: HP-103. */
  tunnelTimeoutMs?: number
  /** The same once one direction has ended. Default 30 000; 0 for none. Source: HP-104. */
  finTimeoutMs?: number
  /** Options of the sockets towards clients. */
  socket?: SocketOptions
}

/** `'1 MB'`, bytes, or both per direction as seen by the client's connection: `read` is what clients send. */
export type ProxyRates = string | number | { read?: string | number; write?: string | number }

/** A list of networks: of its own, from files, or both. */
export interface ProxyNetworksOptions {
  /** Addresses and networks. */
  networks?: string | string[]
  /** Files with one of them a line; `#` begins a comment. Read again by each reload. */
  file?: string | string[]
}

/** A table that rules count in. */
export interface ProxyTableOptions extends Omit<StickTableOptions, 'exchange'> {
  /** Exchanges what it counts with the tables of the same name of other machines, through `redis`. Default false. */
  exchange?: boolean | ProxyExchangeOptions
}

/** How a table exchanges. */
export interface ProxyExchangeOptions {
  /** What it is called there. Default: its name. */
  name?: string
  /** How often, 10 to 60 000. Default 200. */
  everyMs?: number
  /** How long an exchange may take before the others count as unreachable. Default 1 000. */
  timeoutMs?: number
}

/** Where tables meet. */
export interface ProxyRedisOptions {
  /** As `redis://127.0.0.1:6379`. */
  url: string
  /** What the names of keys begin with. Default `'sluice:table:'`. */
  keyPrefix?: string
  /** Least time between two attempts to connect, 1 to 60 000. Default 500. */
  reconnectMs?: number
  /** Changes that the log of a table holds at most, 100 to 10 000 000. Default 10 000. */
  maxChanges?: number
}

/** A program of the proxy. Every part is checked before anything is bound. Times are milliseconds. */
export interface ProxyConfig {
  /** The ports. */
  listeners: ProxyListenerOptions[]
  /** Where connections go, by name. */
  upstreams: Record<string, ProxyUpstreamOptions>
  /** What rules count in, by name. A table whose options stay the same keeps its entries over a reload. */
  tables?: Record<string, ProxyTableOptions>
  /** The Redis in which tables with `exchange` meet those of other machines: its address, or options. Needs the package
   *  `redis`. */
  redis?: string | ProxyRedisOptions
  /** Lists of networks, by names that rules, routes and listeners may use in place of networks. A reload exchanges what is in
   *  them, at once for all who look into them. */
  networks?: Record<string, string | string[] | ProxyNetworksOptions>
  /** How to talk to the kernel. Default `'auto'`, or SLUICE_ENGINE. Cannot be changed by a reload. */
  engine?: Exclude<EngineName, 'sim'>
  /** I/O threads, 0 to 64. Default 0. Cannot be changed by a reload. */
  threads?: number
  /** Threads per loop for handshakes of TLS, 0 to 64. Default 0. Cannot be changed by a reload. */
  handshakeThreads?: number
  /** Connections of all listeners together. Default 0: no limit. Cannot be changed by a reload. Source: HP-71. */
  maxConnections?: number
  /** Statistics as a page, JSON and Prometheus text. Default: none. They tell a lot: keep them to yourself. */
  stats?: ProxyStatsOptions
  /** How long connections may go on after SIGTERM. Default 30 000; 0 for as long as they take. */
  drainTimeoutMs?: number
  /** Path of a Unix socket by which a successor takes over the listening sockets; only this user may connect to it, so it has
   *  to be in the file system. Default: none. Source: HP-130. */
  handOver?: string
  /** What is told on stderr: failures that are worth a line, one line of JSON for each session, or nothing. Default
   *  `'failures'`. */
  log?: 'none' | 'failures' | 'sessions'
}

/** Where statistics are served. Either `port` or `path`. */
export interface ProxyStatsOptions {
  /** Address to listen on. Default `'127.0.0.1'`. */
  host?: string
  /** Port, 0 to 65 535. */
  port?: number
  /** Path of a Unix socket. */
  path?: string
}

/** Answers `config` as it is: for the types in an editor. */
export function defineProxy(config: ProxyConfig): ProxyConfig {
  return config
}
