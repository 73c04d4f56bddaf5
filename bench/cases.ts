import { grouped } from './report/format.js'

/** What a case makes the load generator do, and so what is measured per what. */
export type CaseKind =
  | 'echo'
  | 'connect'
  | 'sink'
  | 'source'
  | 'idle'
  | 'delay'
  | 'storm'
  | 'crowd'
  | 'filter'
  | 'queue'
  | 'pair'
  | 'lookup'
  | 'total'
  | 'shares'
  | 'relay'
  | 'proxy'
  | 'proxy-connect'

/**
 * Whom others are compared with: Node's own sockets; the C program that does no more than it has to; `'unlimited'`, the
 * same server without limits, `'no-steps'`, without steps before the session; other queues of bytes; two ends of a Unix socket in one process;
 * HAProxy with one thread.
 */
export type Yardstick =
  | 'node:net'
  | 'c-epoll'
  | 'node:tls'
  | 'c-openssl'
  | 'unlimited'
  | 'no-steps'
  | 'Buffer.concat'
  | 'bl'
  | 'unix-pair'
  | 'c-relay'
  | 'haproxy'

/** A bar to reach. */
export type Target = ValueTarget | RateTarget

/** The value is at most `atMost` × that of `against`, or `atMost` alone. */
interface ValueTarget {
  readonly via: Via
  readonly against?: Yardstick
  readonly atMost: number
  readonly atLeast?: undefined
}

/** There are at least `atLeast` × as many a second as with `against`. */
interface RateTarget {
  readonly via: Via
  readonly against: Yardstick
  readonly atMost?: undefined
  readonly atLeast: number
}

/** Which way of using sluice, or which part of it, a target is for. */
export type Via = 'handlers' | 'duplex' | 'threads' | 'limits' | 'handshake' | 'queue' | 'pair' | 'lookup' | 'proxy'

/** A key of the certificate, as `createSelfSigned` makes them. */
export type KeyType = 'RSA-2048' | 'P-256'

/** How the connections of a case are secured: TLS 1.3, TLS_AES_128_GCM_SHA256, X25519. */
export interface CaseTls {
  readonly keyType: KeyType
  /** Every handshake but the first ones resumes a session, by ticket. */
  readonly resumes?: boolean
}

export interface BenchCase {
  /** As in `--cases`. */
  readonly name: string
  readonly title: string
  readonly kind: CaseKind
  readonly connections: number
  /** Bytes per message. */
  readonly bytes: number
  /** Messages under way per connection. */
  readonly depth: number
  /** What the value counts, e.g. "CPU µs per message". Less is better, always. */
  readonly unit: string
  readonly targets: readonly Target[]
  /** One of the cases of `--quick`. */
  readonly quick: boolean
  /** So many more connections are open that send nothing, or a byte a second. */
  readonly crowd?: number
  /** Undefined: plain TCP. */
  readonly tls?: CaseTls
}

const handlers = 'handlers'
const bulk = { connections: 4, bytes: 64 * 1024, depth: 1, unit: 'CPU µs per MiB', quick: false }

/** All cases, in the order they are run and shown. */
export const cases: readonly BenchCase[] = [
  echo(1, 64, 1, [nodeNet(0.75)]),
  echo(
    64,
    64,
    1,
    [nodeNet(0.45), cEpoll(1.1), { via: 'duplex', against: 'node:net', atMost: 0.5 }, limits(1.03)],
    true,
  ),
  echo(64, 64, 16, [nodeNet(0.48), cEpoll(1.15), limits(1.03)], true),
  echo(1000, 64, 1, [nodeNet(0.36), cEpoll(1.05)]),
  echo(64, 1024, 1),
  echo(64, 16 * 1024, 1, [nodeNet(0.36), cEpoll(1.15), limits(1.03)], true),
  echo(16, 256 * 1024, 1, [nodeNet(0.45), cEpoll(1.25)]),
  {
    ...bulk,
    name: 'bulk-in',
    title: 'bulk in: 4 connections send, the server reads and drops',
    kind: 'sink',
    targets: [],
  },
  {
    ...bulk,
    name: 'bulk-out',
    title: 'bulk out: the server sends to 4 connections as fast as they read',
    kind: 'source',
    targets: [],
  },
  {
    name: 'connect',
    title: 'connection rate: connect, echo 64 bytes, close, 64 at a time',
    kind: 'connect',
    connections: 64,
    bytes: 64,
    depth: 1,
    unit: 'CPU µs per connection',
    targets: [{ via: 'handshake', against: 'no-steps', atMost: 1.05 }],
    quick: false,
  },
  {
    name: 'idle',
    title: `idle memory: ${grouped(20_000)} connections open, each having echoed once`,
    kind: 'idle',
    connections: 20_000,
    bytes: 64,
    depth: 1,
    unit: 'RSS KiB per connection',
    targets: [{ via: handlers, atMost: 1.5 }],
    quick: true,
  },
  {
    name: 'delay',
    title: `event-loop delay, 99th percentile, under ${grouped(1000)} × 64 bytes of echo load`,
    kind: 'delay',
    connections: 1000,
    bytes: 64,
    depth: 1,
    unit: 'ms',
    targets: [],
    quick: false,
  },
  {
    name: 'mask-64x1KiB',
    title: 'filtered echo: 64 connections × 1 KiB, every byte masked on its way in and on its way out',
    kind: 'filter',
    connections: 64,
    bytes: 1024,
    depth: 1,
    unit: 'CPU µs per message',
    targets: [],
    quick: false,
  },
  {
    name: 'queue-1KiB',
    title: 'byte queue: 1 KiB appended and drained, 64 KiB waiting, without a socket',
    kind: 'queue',
    connections: 1,
    bytes: 1024,
    depth: 64,
    unit: 'CPU µs per piece',
    targets: [
      { via: 'queue', against: 'Buffer.concat', atMost: 0.2 },
      { via: 'queue', against: 'bl', atMost: 0.2 },
    ],
    quick: true,
  },
  {
    name: 'pair-64',
    title: 'pair: 64 bytes go to and fro between two ends in one process',
    kind: 'pair',
    connections: 1,
    bytes: 64,
    depth: 1,
    unit: 'CPU µs per message',
    targets: [{ via: 'pair', against: 'unix-pair', atMost: 0.33 }],
    quick: true,
  },
  relay(64, 1024, [nodeNet(0.35), { via: handlers, against: 'c-relay', atMost: 1.2 }]),
  relay(16, 64 * 1024, [nodeNet(0.35), { via: handlers, against: 'c-relay', atMost: 1.2 }], true),
  {
    ...relay(16, 64 * 1024, [{ via: handlers, against: 'node:tls', atMost: 0.5 }]),
    name: 'tls-relay-64KiB',
    title: 'TLS, ended by a relay: 16 connections × 64 KiB to an echo server without TLS',
    tls: { keyType: 'P-256' },
  },
  proxy('1KiB', 64, 1024, proxied(1.5, 0.35)),
  proxy('64KiB', 16, 64 * 1024, proxied(1.3, 0.35), true),
  proxyConnect(),
  { ...proxy('tls-1KiB', 64, 1024, proxied(1.2, 0.5, 'node:tls')), tls: { keyType: 'P-256' } },
  { ...proxy('tls-64KiB', 16, 64 * 1024, proxied(1.2, 0.5, 'node:tls')), tls: { keyType: 'P-256' } },
  {
    name: 'cidr-lookup',
    title: `networks: which of ${grouped(100_000)} an address lies in, asked from JavaScript with its text`,
    kind: 'lookup',
    connections: 1,
    bytes: 16,
    depth: 100_000,
    unit: 'CPU µs per look-up',
    targets: [{ via: 'lookup', atMost: 1 }],
    quick: true,
  },
  shared('total', 'its total is off the limit', 1),
  shared('shares', 'the share of a connection is off the mean, at most', 5),
  tlsEcho(1024, 0.6, true),
  tlsEcho(16 * 1024, 0.67),
  handshake('full', { keyType: 'RSA-2048' }, 0.65),
  handshake('full', { keyType: 'P-256' }, 0.65, true),
  handshake('resumed', { keyType: 'P-256', resumes: true }, 0.5),
  {
    ...bulk,
    name: 'tls-bulk-in',
    title: 'TLS, bulk in: 4 connections send, the server reads and drops',
    kind: 'sink',
    targets: againstTls(0.62),
    tls: { keyType: 'P-256' },
  },
  {
    ...bulk,
    name: 'tls-bulk-out',
    title: 'TLS, bulk out: the server sends to 4 connections as fast as they read',
    kind: 'source',
    targets: againstTls(0.95),
    tls: { keyType: 'P-256' },
  },
  {
    name: 'tls-idle',
    title: `TLS, idle memory: ${grouped(5000)} connections open, each having echoed once`,
    kind: 'idle',
    connections: 5000,
    bytes: 64,
    depth: 1,
    unit: 'RSS KiB per connection',
    targets: [{ via: handlers, atMost: 16 }],
    quick: false,
    tls: { keyType: 'P-256' },
  },
  {
    name: 'tls-storm',
    title: 'TLS, event-loop delay, 99th percentile, while 200 clients handshake without pause, RSA-2048',
    kind: 'storm',
    connections: 200,
    bytes: 1,
    depth: 1,
    unit: 'ms',
    targets: [
      { via: handlers, atMost: 4 },
      { via: 'threads', atMost: 2.5 },
      { via: handlers, against: 'node:tls', atLeast: 1.4 },
    ],
    quick: false,
    tls: { keyType: 'RSA-2048' },
  },
  {
    ...tlsEcho(1024, 1),
    name: 'tls-crowd',
    title: `TLS, throughput lost by 64 connections × 1 KiB beside ${grouped(5000)} that say nothing or a byte a second`,
    kind: 'crowd',
    unit: '%',
    targets: [{ via: handlers, atMost: 20 }],
    crowd: 5000,
  },
]

/** Whom the servers of a case are compared with. */
export function yardsticksOf({ kind, tls }: Pick<BenchCase, 'kind' | 'tls'>): {
  readonly node: Yardstick
  readonly c: Yardstick
} {
  if (isProxy(kind)) return { node: tls === undefined ? 'node:net' : 'node:tls', c: 'haproxy' }
  if (kind === 'relay' && tls === undefined) return { node: 'node:net', c: 'c-relay' }
  return tls === undefined ? { node: 'node:net', c: 'c-epoll' } : { node: 'node:tls', c: 'c-openssl' }
}

/** Whether whole programs are measured that stand between clients and a server, `sluice proxy` among them. */
export function isProxy(kind: CaseKind): boolean {
  return kind === 'proxy' || kind === 'proxy-connect'
}

function shared(kind: 'total' | 'shares', what: string, atMost: number): BenchCase {
  return {
    name: `group-${kind}`,
    title: `rate limit: ${grouped(10_000)} connections share 40 MB/s for ten seconds; by how much ${what}`,
    kind,
    connections: 10_000,
    bytes: 64 * 1024,
    depth: 1,
    unit: '%',
    targets: [{ via: handlers, atMost }],
    quick: false,
  }
}

/** The same case with another number of connections, its title with it. */
export function withConnections(bench: BenchCase, connections: number): BenchCase {
  return { ...bench, connections, title: bench.title.replace(grouped(bench.connections), grouped(connections)) }
}

function echo(connections: number, bytes: number, depth: number, targets: Target[] = [], quick = false): BenchCase {
  const size = bytes < 1024 ? `${bytes}` : `${bytes / 1024}KiB`
  const pipelined = depth === 1 ? '' : `, ${depth} under way on each`
  return {
    name: [connections, size, ...(depth === 1 ? [] : [depth])].join('x'),
    title: `echo: ${grouped(connections)} connection${connections === 1 ? '' : 's'} × ${spelled(bytes)}${pipelined}`,
    kind: 'echo',
    connections,
    bytes,
    depth,
    unit: 'CPU µs per message',
    targets,
    quick,
  }
}

function relay(connections: number, bytes: number, targets: Target[], quick = false): BenchCase {
  const title = `relay: ${connections} connections × ${spelled(bytes)}, through a relay to an echo server`
  return { ...echo(connections, bytes, 1, targets, quick), name: `relay-${bytes / 1024}KiB`, title, kind: 'relay' }
}

function proxy(name: string, connections: number, bytes: number, targets: Target[], quick = false): BenchCase {
  const tls = name.startsWith('tls') ? ' that ends TLS' : ''
  const title = `proxy: ${connections} connections × ${spelled(bytes)}, through a program${tls} to an echo server`
  return { ...echo(connections, bytes, 1, targets, quick), name: `proxy-${name}`, title, kind: 'proxy' }
}

function proxyConnect(): BenchCase {
  return {
    ...proxy('connect', 64, 64, [
      { via: 'proxy', against: 'haproxy', atLeast: 0.6 },
      { via: 'proxy', against: 'node:net', atMost: 1 },
    ]),
    title: 'proxy, connection rate: connect, echo 64 bytes through a program, close, 64 at a time',
    kind: 'proxy-connect',
    unit: 'CPU µs per connection',
  }
}

function proxied(ofHaproxy: number, ofNode: number, node: Yardstick = 'node:net'): Target[] {
  return [
    { via: 'proxy', against: 'haproxy', atMost: ofHaproxy },
    { via: 'proxy', against: node, atMost: ofNode },
  ]
}

function tlsEcho(bytes: number, ofNode: number, quick = false): BenchCase {
  const plain = echo(64, bytes, 1, againstTls(ofNode), quick)
  return { ...plain, name: `tls-${plain.name}`, title: `TLS, ${plain.title}`, tls: { keyType: 'P-256' } }
}

function handshake(which: 'full' | 'resumed', tls: CaseTls, ofNode: number, quick = false): BenchCase {
  const key = tls.keyType === 'P-256' ? 'ec' : 'rsa'
  return {
    name: which === 'full' ? `tls-handshake-${key}` : 'tls-handshake-resumed',
    title: `TLS, ${which} handshake, ${tls.keyType}: connect, echo one byte, close, 16 at a time`,
    kind: 'connect',
    connections: 16,
    bytes: 1,
    depth: 1,
    unit: 'CPU µs per connection',
    targets: againstTls(ofNode),
    quick,
    tls,
  }
}

function spelled(bytes: number): string {
  return bytes < 1024 ? `${bytes} bytes` : `${bytes / 1024} KiB`
}

function nodeNet(atMost: number): Target {
  return { via: handlers, against: 'node:net', atMost }
}

function limits(atMost: number): Target {
  return { via: 'limits', against: 'unlimited', atMost }
}

function cEpoll(atMost: number): Target {
  return { via: handlers, against: 'c-epoll', atMost }
}

function againstTls(ofNode: number): Target[] {
  return [
    { via: handlers, against: 'node:tls', atMost: ofNode },
    { via: handlers, against: 'c-openssl', atMost: 1.05 },
  ]
}
