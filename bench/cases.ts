import { grouped } from './report/format.js'

/** What a case makes the load generator do, and so what is measured per what. */
export type CaseKind =
  | 'echo'
  | 'connect'
  | 'sink'
  | 'source'
  | 'idle'
  | 'delay'
  | 'filter'
  | 'queue'
  | 'total'
  | 'shares'

/** A bar to reach: the value of `server` is at most `atMost` × that of `against`, or `atMost` alone. */
export interface Target {
  readonly via: 'handlers' | 'duplex' | 'limits' | 'queue'
  /** `'unlimited'`: the same server without limits. */
  readonly against?: 'node:net' | 'c-epoll' | 'unlimited' | 'Buffer.concat' | 'bl'
  readonly atMost: number
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
}

const handlers = 'handlers'

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
    name: 'bulk-in',
    title: 'bulk in: 4 connections send, the server reads and drops',
    kind: 'sink',
    connections: 4,
    bytes: 64 * 1024,
    depth: 1,
    unit: 'CPU µs per MiB',
    targets: [],
    quick: false,
  },
  {
    name: 'bulk-out',
    title: 'bulk out: the server sends to 4 connections as fast as they read',
    kind: 'source',
    connections: 4,
    bytes: 64 * 1024,
    depth: 1,
    unit: 'CPU µs per MiB',
    targets: [],
    quick: false,
  },
  {
    name: 'connect',
    title: 'connection rate: connect, echo 64 bytes, close, 64 at a time',
    kind: 'connect',
    connections: 64,
    bytes: 64,
    depth: 1,
    unit: 'CPU µs per connection',
    targets: [],
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
  shared('total', 'its total is off the limit', 1),
  shared('shares', 'the share of a connection is off the mean, at most', 5),
]

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
