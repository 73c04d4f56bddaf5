import { connect, type Socket } from 'node:net'
import type { Meter } from './meter.js'
import { checkPattern, patternAt, patternStart } from './pattern.js'
import type { Settings } from './settings.js'

const portsPerSource = 20_000
// Version 2, PROXY, TCP over IPv4: 192.0.2.1:56324 to 198.51.100.5:443.
const header = Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000201c6336405dc0401bb', 'hex')

/** One connection of the load generator: sends its pattern, compares what comes back. */
export class EchoClient {
  readonly #number: number
  readonly #start: number
  readonly #bytes: number
  readonly #socket: Socket
  readonly #meter: Meter
  readonly #sentAt: bigint[] = []
  #preface: boolean
  #sent = 0
  #received = 0
  #whenEchoed: (() => void) | undefined
  /** Called for each message that has come back whole. */
  onMessage: (() => void) | undefined

  constructor(number: number, { port, bytes, preface }: Settings, meter: Meter, fail: (error: Error) => void) {
    this.#number = number
    this.#start = patternStart(number)
    this.#bytes = bytes
    this.#preface = preface
    this.#meter = meter
    this.#socket = openSocket(port, number)
    this.#socket.on('data', (chunk) => {
      try {
        this.#take(chunk)
      } catch (error) {
        fail(error as Error)
      }
    })
    this.#socket.on('error', (error) => fail(new Error(`connection ${number}: ${error.message}`)))
    this.#socket.on('end', () => fail(new Error(`connection ${number}: closed by the server`)))
  }

  /** Sends `count` messages in one write. */
  send(count: number): void {
    const size = count * this.#bytes
    const time = process.hrtime.bigint()
    for (let i = 0; i < count; i++) this.#sentAt.push(time)
    const pattern = patternAt(this.#start, this.#sent, size)
    this.#socket.write(this.#preface ? Buffer.concat([header, pattern]) : pattern)
    this.#preface = false
    this.#sent += size
  }

  /** Resolves when everything sent has come back. */
  async echoed(): Promise<void> {
    if (this.#received < this.#sent) await new Promise<void>((settle) => (this.#whenEchoed = settle))
  }

  close(): void {
    this.#socket.removeAllListeners('end').end()
  }

  #take(chunk: Buffer): void {
    if (this.#received + chunk.length > this.#sent) {
      throw new Error(`connection ${this.#number}: more bytes came back than were sent`)
    }
    checkPattern(this.#number, this.#start, this.#received, chunk)
    const before = Math.floor(this.#received / this.#bytes)
    this.#received += chunk.length
    const messages = Math.floor(this.#received / this.#bytes) - before
    this.#meter.bytes(chunk.length)
    const time = process.hrtime.bigint()
    for (let i = 0; i < messages; i++) {
      this.#meter.message(time - this.#sentAt.shift()!)
      this.onMessage?.()
    }
    if (this.#received === this.#sent) this.#whenEchoed?.()
  }
}

/** A connection from 127.0.0.1, .2, … on Linux, so that ports last for as many as we like. */
export function openSocket(port: number, number: number): Socket {
  const source = process.platform === 'linux' ? Math.floor(number / portsPerSource) : 0
  const localAddress = source === 0 ? undefined : `127.0.0.${1 + (source % 250)}`
  return connect({ port, host: '127.0.0.1', localAddress, noDelay: true })
}
