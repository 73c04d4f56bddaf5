// sluice itself, by handlers or under Node's streams.
import type { Duplex } from 'node:stream'
import { type Connection, type ConnectionHandlers, Runtime } from 'sluice'
import { chargenChunk } from '../chargen.js'
import { announce, serverOptions } from './service.js'

const { service, engine, threads, handshakeThreads, via, identity: tls } = serverOptions()
const chunk = chargenChunk()

const byHandlers: Record<string, ConnectionHandlers> = {
  echo: {
    data(connection, bytes) {
      if (!connection.write(bytes)) connection.pause()
    },
    drain(connection) {
      connection.resume()
    },
    error() {}, // a load generator that leaves may reset its connections
  },
  discard: { data() {}, error() {} },
  chargen: { open: fill, drain: fill, data() {}, error() {} },
}

const byDuplex: Record<string, (stream: Duplex) => void> = {
  echo(stream) {
    stream.on('data', (bytes) => {
      if (!stream.write(bytes)) stream.pause()
    })
    stream.on('drain', () => stream.resume())
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

function fill(connection: Connection): void {
  while (connection.write(chunk));
}

function serveDuplex(connection: Connection): void {
  const stream = connection.toDuplex()
  stream.on('error', () => {})
  byDuplex[service]!(stream)
}

async function main(): Promise<void> {
  const runtime = new Runtime({ engine: engine as 'auto', threads, handshakeThreads })
  const handlers = via === 'duplex' ? { open: serveDuplex } : byHandlers[service]!
  const address = { port: 0, host: '127.0.0.1' }
  const listener = await runtime.listen({ ...address, backlog: 4096, noDelay: true, tls }, handlers)
  announce((listener.address as { port: number }).port)
}

main()
