/** Who takes part, as `--peers` names them. */
export type PeerName = 'sluice' | 'raw' | 'zeromq' | 'grpc' | 'json'

export interface MessagePeer {
  readonly name: PeerName
  readonly title: string
  /** The package that it needs. */
  readonly needs?: string
}

export const peers: readonly MessagePeer[] = [
  { name: 'sluice', title: 'sluice messages' },
  { name: 'raw', title: 'sluice connection' },
  { name: 'zeromq', title: 'zeromq.js', needs: 'zeromq' },
  { name: 'grpc', title: 'grpc-js', needs: '@grpc/grpc-js' },
  { name: 'json', title: 'JSON over node:net' },
]

/** What sluice is to reach: so many times the figure of another peer, or of the best of the other ones, or that
 *  figure by itself. A connection without messages is no other one. */
export interface MessageTarget {
  /** Undefined: the figure itself. */
  readonly against?: PeerName | 'best'
  readonly atMost?: number
  readonly atLeast?: number
}

export interface MessageCase {
  readonly name: string
  readonly title: string
  /** `streams`: requests whose bodies are not collected; `lent`: whose memory is the handler's until it has finished. `large` is no contest: one body, and what memory it takes. */
  readonly kind: 'request' | 'push' | 'streams' | 'lent' | 'large'
  /** µs of a request: less is better; messages or MB per second: more is better. */
  readonly unit: 'µs' | 'a second' | 'MB/s'
  readonly bytes: number
  /** Whether the answer is as large as the request, or empty. */
  readonly echoes: boolean
  /** Requests in flight. */
  readonly depth: number
  readonly tls: boolean
  readonly peers: readonly PeerName[]
  readonly targets: readonly MessageTarget[]
  /** Part of `--quick`. */
  readonly quick: boolean
}

const all = ['sluice', 'zeromq', 'grpc', 'json'] as const
const withRaw = ['raw', ...all] as const
const overTls = ['sluice', 'grpc', 'json'] as const
const small = { kind: 'request', bytes: 128, echoes: true } as const

export const messageCases: readonly MessageCase[] = [
  {
    ...small,
    ...{ name: 'latency', title: 'Requests of 128 bytes, one in flight', unit: 'µs', depth: 1, tls: false },
    ...{ peers: withRaw, targets: [{ against: 'best', atMost: 0.8 }], quick: true },
  },
  {
    ...small,
    ...{ name: 'requests', title: 'Requests of 128 bytes, 64 in flight', unit: 'a second', depth: 64, tls: false },
    peers: all,
    targets: [
      { against: 'zeromq', atLeast: 3 },
      { against: 'grpc', atLeast: 8 },
    ],
    quick: true,
  },
  {
    ...small,
    ...{ name: 'tls-latency', title: 'Requests of 128 bytes, one in flight, TLS', unit: 'µs', depth: 1, tls: true },
    ...{ peers: overTls, targets: [], quick: false },
  },
  {
    ...small,
    ...{
      name: 'tls-requests',
      title: 'Requests of 128 bytes, 64 in flight, TLS',
      unit: 'a second',
      depth: 64,
      tls: true,
    },
    ...{ peers: overTls, targets: [{ against: 'grpc', atLeast: 3 }], quick: true },
  },
  {
    ...{ name: 'bodies', title: 'Requests of 1 MiB, 4 in flight, answers empty', kind: 'request', unit: 'MB/s' },
    ...{ bytes: 1 << 20, echoes: false, depth: 4, tls: false },
    ...{ peers: withRaw, targets: [{ against: 'raw', atLeast: 0.8 }], quick: true },
  },
  {
    ...{ name: 'lent', title: 'The same, lent to the handler as the bytes of a connection are', kind: 'lent' },
    ...{ unit: 'MB/s', bytes: 1 << 20, echoes: false, depth: 4, tls: false },
    ...{ peers: ['raw', 'sluice'], targets: [{ against: 'raw', atLeast: 0.8 }], quick: true },
  },
  {
    ...{
      name: 'streams',
      title: 'The same as streams: pieces are counted, as those of the connection are',
      kind: 'streams',
    },
    ...{ unit: 'MB/s', bytes: 1 << 20, echoes: false, depth: 4, tls: false },
    ...{ peers: ['raw', 'sluice'], targets: [{ against: 'raw', atLeast: 0.8 }], quick: true },
  },
  {
    ...{ name: 'one-way', title: 'Messages of 64 bytes without answer', kind: 'push', unit: 'a second' },
    ...{ bytes: 64, echoes: false, depth: 1, tls: false },
    ...{ peers: all, targets: [{ atLeast: 1_000_000 }], quick: true },
  },
  {
    ...{ name: 'large', title: 'One large body, streamed beside small requests', kind: 'large', unit: 'MB/s' },
    ...{ bytes: 128, echoes: true, depth: 4, tls: false, peers: ['sluice'], targets: [], quick: true },
  },
]
