import { connect, type Socket } from 'node:net'

/** How many connect at a time: a backlog that overflows would make some wait seconds for their next attempt. */
const atOnce = 100

/** The start of a ClientHello whose record promises 512 bytes. The rest never comes. */
const hello = Uint8Array.from([
  0x16,
  0x03,
  0x01,
  0x02,
  0x00,
  0x01,
  0x00,
  0x01,
  0xfc,
  0x03,
  0x03,
  ...new Array(500).fill(7),
])

/** Clients that open a connection and then do next to nothing: every other one sends a byte a second, the others none. */
export class Crowd {
  readonly #sockets: Socket[] = []
  #slow: NodeJS.Timeout | undefined

  /** Resolves when all are connected. Rejects if one is not. */
  static async open(port: number, count: number): Promise<Crowd> {
    const crowd = new Crowd()
    try {
      while (crowd.#sockets.length < count) {
        const batch = Math.min(atOnce, count - crowd.#sockets.length)
        crowd.#sockets.push(...(await Promise.all(Array.from({ length: batch }, () => opened(port)))))
      }
    } catch (error) {
      crowd.close()
      throw error
    }
    crowd.#dribble()
    return crowd
  }

  /** How many the server has not sent away. */
  get size(): number {
    return this.#sockets.reduce((count, socket) => count + (socket.destroyed ? 0 : 1), 0)
  }

  close(): void {
    clearInterval(this.#slow)
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  // Their bytes are spread over the second.
  #dribble(): void {
    const slow = this.#sockets.filter((_, index) => index % 2 === 0)
    const intervalMs = 10
    const perInterval = Math.max(1, Math.round((slow.length * intervalMs) / 1000))
    let sent = 0
    this.#slow = setInterval(() => {
      for (let count = 0; count < perInterval; count++, sent++) {
        const byte = Math.floor(sent / slow.length) % hello.length
        const socket = slow[sent % slow.length]!
        if (socket.writable) socket.write(hello.subarray(byte, byte + 1))
      }
    }, intervalMs)
  }
}

function opened(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(socket.off('error', reject).on('error', () => {})))
    socket.once('error', reject)
  })
}
