import { type AddressInfo, createServer, connect as netConnect, type Socket } from 'node:net'
import type { ConnectionOptions, ListenOptions } from 'sluice'
import { kernelModes, type Mode } from './modes.js'
import { portOf } from './pair.js'

/** A way to get connected sockets; what stands above it must not see which one. */
export interface Transport {
  readonly name: string
  /** Listens, and gives each connection to `serve`. */
  listen(serve: (socket: Socket) => void, options?: TransportOptions): Promise<Service>
}

export interface TransportOptions {
  allowHalfOpen?: boolean
  /** Only for sluice; node:net has nothing like it. */
  sluice?: Partial<Omit<ListenOptions, 'tls'> & ConnectionOptions>
}

export interface Service extends AsyncDisposable {
  readonly port: number
  /** Another connection to it, of the same make. */
  connect(): Promise<Socket>
}

/** The original. */
export const net: Transport = {
  name: 'node:net',
  async listen(serve, { allowHalfOpen = false } = {}) {
    const sockets = new Set<Socket>()
    const server = createServer({ allowHalfOpen }, (socket) => {
      sockets.add(socket)
      serve(socket)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    return {
      port,
      connect: () =>
        new Promise((resolve, reject) => {
          const socket = netConnect({ port, host: '127.0.0.1', allowHalfOpen })
          socket.once('error', reject)
          socket.once('connect', () => {
            socket.off('error', reject)
            sockets.add(socket)
            resolve(socket)
          })
        }),
      async [Symbol.asyncDispose]() {
        server.close()
        for (const socket of sockets) socket.destroy()
      },
    }
  },
}

/** sluice's streams in each mode that reaches the system's network. */
export function sluiceTransports(): Transport[] {
  return kernelModes()
    .filter(({ engine }) => engine === 'epoll' || engine === 'io_uring')
    .map(transportOf)
}

function transportOf(mode: Mode): Transport {
  return {
    name: mode.name,
    async listen(serve, { allowHalfOpen = false, sluice = {} } = {}) {
      const runtime = mode.start()
      const options = { host: '127.0.0.1', allowHalfOpen, ...sluice }
      // What a stream reports is the test's to look at.
      const handlers = { error() {} }
      const listener = await runtime.listen(
        { port: 0, ...options },
        { ...handlers, open: (connection) => serve(connection.toDuplex() as Socket) },
      )
      const port = portOf(listener)
      return {
        port,
        connect: async () => (await runtime.connect({ ...options, port }, handlers)).toDuplex() as Socket,
        async [Symbol.asyncDispose]() {
          await runtime.destroy()
        },
      }
    },
  }
}
