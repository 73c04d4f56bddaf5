import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, Socket } from 'node:net'

/** A peer that is not sluice: node:net, so that a test does not prove sluice by itself. */
export class RawPeer {
  readonly chunks: Buffer[] = []
  /** `'end'`, an error code, or undefined while it is open. */
  ending: string | undefined
  /** Resolves with `ending`. */
  readonly ended: Promise<string>

  constructor(readonly socket: Socket) {
    socket.on('data', (chunk) => this.chunks.push(chunk))
    this.ended = new Promise((resolve) => {
      const settle = (how: string) => {
        this.ending ??= how
        resolve(this.ending)
      }
      socket.on('end', () => settle('end'))
      socket.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message))
      socket.on('close', () => settle('close'))
    })
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString()
  }

  get sizeBytes(): number {
    return this.chunks.reduce((sum, { length }) => sum + length, 0)
  }

  async received(sizeBytes: number): Promise<void> {
    while (this.sizeBytes < sizeBytes) await once(this.socket, 'data')
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** Ends with RST. */
  reset(): void {
    this.socket.resetAndDestroy()
  }
}

/** A connected peer; its own end follows only when told. */
export async function rawConnect(to: { port: number; host?: string } | { path: string }): Promise<RawPeer> {
  const socket = new Socket({ allowHalfOpen: true })
  const connected = once(socket, 'connect')
  if ('path' in to) socket.connect(to.path)
  else socket.connect(to.port, to.host ?? '127.0.0.1')
  await connected
  return new RawPeer(socket)
}

/** A server of node:net on a free port of 127.0.0.1; `accepted` resolves with its next connection. */
export class RawServer implements AsyncDisposable {
  private readonly peers: RawPeer[] = []
  private readonly waiting: ((peer: RawPeer) => void)[] = []

  private constructor(private readonly server: Server) {
    server.on('connection', (socket) => {
      const peer = new RawPeer(socket)
      this.peers.push(peer)
      this.waiting.shift()?.(peer)
    })
  }

  static async listen(host = '127.0.0.1'): Promise<RawServer> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: false })
    server.listen(0, host)
    await once(server, 'listening')
    return new RawServer(server)
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  accepted(): Promise<RawPeer> {
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.peers) peer.destroy()
    this.server.close()
  }
}
