// sluice itself, by handlers or under Node's streams.
import type { Duplex } from 'node:stream'
import {
  acceptProxy,
  type Connection,
  type ConnectionHandlers,
  type ConnectionOptions,
  type Filter,
  type FilterFunction,
  RateLimit,
  RateLimitGroup,
  RuleList,
  Runtime,
  relay,
  rules,
  StickTable,
} from 'sluice'
import { chargenChunk } from '../chargen.js'
import { maskInPlace, maskTransform } from './mask.js'
import { announce, answerShares, serverOptions, sharedRate } from './service.js'

const { service, engine, threads, handshakeThreads, via, limited, upstream, opening, identity: tls } = serverOptions()
const chunk = chargenChunk()

const echo: ConnectionHandlers = {
  data(connection, bytes) {
    if (!connection.write(bytes)) connection.pause()
  },
  drain(connection) {
    connection.resume()
  },
  error() {}, // a load generator that leaves may reset its connections
}

const byHandlers: Record<string, ConnectionHandlers> = {
  echo,
  mask: echo,
  discard: { data() {}, error() {} },
  relay: { open: join, error() {} },
  chargen: { open: fill, drain: fill, data() {}, error() {} },
  shared: {
    open(connection) {
      sharing.push(connection)
      fill(connection)
    },
    drain: fill,
    data() {},
    error() {},
  },
}
const sharing: Connection[] = []

const byDuplex: Record<string, (stream: Duplex) => void> = {
  echo(stream) {
    stream.on('data', (bytes) => {
      if (!stream.write(bytes)) stream.pause()
    })
    stream.on('drain', () => stream.resume())
  },
  mask(stream) {
    stream.pipe(maskTransform()).pipe(maskTransform()).pipe(stream)
  },
  discard(stream) {
    stream.on('data', () => {})
  },
  chargen(stream) {
    const write = () => {
      while (stream.write(chunk));
    }
    stream.on('drain', write)
    stream.resume()
    write()
  },
}

async function join(connection: Connection): Promise<void> {
  connection.pause()
  const to = { host: '127.0.0.1', port: upstream, noDelay: true, allowHalfOpen: true }
  relay(connection, await runtime.connect(to, { error() {} }))
}

function fill(connection: Connection): void {
  while (connection.write(chunk));
}

function serveDuplex(connection: Connection): void {
  const stream = connection.toDuplex()
  stream.on('error', () => {})
  byDuplex[service]!(stream)
}

// process > listener > connection, as one would have them.
function limits(): ConnectionOptions {
  if (service === 'shared') {
    answerShares(sharing, (connection) => connection.stats().bytesWritten)
    const { bytesPerSecond, tickMs, minShareBytes } = sharedRate
    const rate = RateLimit.bytesPerSecond({ write: bytesPerSecond }, { tickMs })
    return { rateLimitGroup: new RateLimitGroup({ limit: rate, minShareBytes }), highWaterBytes: 65_536 }
  }
  if (!limited) return {}
  const rate = RateLimit.bytesPerSecond('1 TB')
  const parent = new RateLimitGroup({ limit: rate })
  return { rateLimit: rate, rateLimitGroup: new RateLimitGroup({ limit: rate, parent }) }
}
const mask: FilterFunction = (source, destination, limitBytes) => {
  if (source.sizeBytes === 0) return 'needMore'
  destination.appendReference(maskInPlace(source.read(limitBytes)))
  return 'ok'
}
const masked: Filter = { input: mask, output: mask }

const runtime = new Runtime({ engine: engine as 'auto', threads, handshakeThreads })
// As one would have them in front of a service: who is banned, who does too much, and who is known.
function clients(): RuleList {
  const table = new StickTable({
    size: 10_000,
    expireMs: 60_000,
    store: { connCurrent: true, connRate: { periodMs: 10_000 } },
  })
  return new RuleList([
    { action: 'reject', when: { source: ['203.0.113.0/24', '198.51.100.0/24', '2001:db8::/32'] } },
    { action: 'track', table },
    { action: 'reject', when: { counter: 'connCurrent', above: 1_000_000 } },
    { stage: 'session', action: 'reject', when: { source: ['203.0.113.0/24', '10.99.0.0/16'] } },
    { stage: 'session', action: 'tag', tag: 'known', when: { source: '192.0.2.0/24' } },
  ])
}

async function main(): Promise<void> {
  const handlers = via === 'duplex' ? { open: serveDuplex } : byHandlers[service]!
  const filters = service === 'mask' && via === 'handlers' ? () => masked : undefined
  const handshake = opening ? [rules(clients()), acceptProxy()] : undefined
  const options = { port: 0, host: '127.0.0.1', backlog: 4096, noDelay: true, tls, filters, handshake, ...limits() }
  const listener = await runtime.listen(options, handlers)
  announce((listener.address as { port: number }).port)
}

main()
