import type { Channel } from '../channel.js'
import { SluiceError } from '../errors.js'
import type { NativeAddress } from '../native/binding.js'
import { ProxyHeader } from './proxy-header.js'

/** A connection whose handshake is under way, as custom steps see it. */
export class OpeningConnection {
  /** Becomes `connection.data`. */
  data: unknown = undefined
  private readonly channel: Channel
  private readonly slot: number
  private readonly tag: number
  private controller: AbortController | undefined
  private known: { local?: NativeAddress; remote?: NativeAddress } | undefined
  private header: ProxyHeader | undefined
  private over = false

  /** @internal */
  constructor(channel: Channel, slot: number, tag: number) {
    this.channel = channel
    this.slot = slot
    this.tag = tag
  }

  /** Our IP address; undefined on Unix sockets. */
  get localAddress(): string | undefined {
    return this.endpoints.local?.address
  }

  /** Our port; undefined on Unix sockets. */
  get localPort(): number | undefined {
    return this.endpoints.local?.port
  }

  /** The peer's IP address, the real one; undefined on Unix sockets. */
  get remoteAddress(): string | undefined {
    return this.endpoints.remote?.address
  }

  /** The peer's port; undefined on Unix sockets. */
  get remotePort(): number | undefined {
    return this.endpoints.remote?.port
  }

  /** What an earlier step has read of a PROXY or client-IP header. */
  get proxy(): ProxyHeader | undefined {
    if (this.header !== undefined || this.over) return this.header
    const header = this.channel.native.proxyHeader(this.slot, this.tag)
    this.header = header && new ProxyHeader(header)
    return this.header
  }

  /** Aborts when the connection does not get to its session: its peer has left, or time is up. */
  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController()
      if (this.over) this.controller.abort()
    }
    return this.controller.signal
  }

  /**
   * Sends bytes to the peer. The next step begins when the system has all of them.
   *
   * @throws {SluiceError} `ERR_SLUICE_CLOSED` when this handshake is over.
   */
  write(bytes: Uint8Array | string): void {
    if (this.over) throw new SluiceError('CLOSED', { phase: 'handshake' })
    const all = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
    if (!(all instanceof Uint8Array)) {
      throw new SluiceError('INVALID_ARGUMENT', { phase: 'write', detail: 'write() takes a Uint8Array or a string' })
    }
    if (all.length > 0) this.channel.stageBytes(this.slot, this.tag, all, all.length)
  }

  /** @internal No step of it will run again. */
  end(error?: SluiceError): void {
    this.over = true
    if (error !== undefined) this.controller?.abort(error)
  }

  private get endpoints(): { local?: NativeAddress; remote?: NativeAddress } {
    if (this.known === undefined && !this.over) this.known = this.channel.native.endpoints(this.slot, this.tag)
    return this.known ?? {}
  }
}
