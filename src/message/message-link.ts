import { ByteQueue } from '../byte-queue/queue.js'
import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { TimeoutKind } from '../handlers.js'
import type { ConnectionOwner } from './connection-owner.js'
import { type MessageConnectionState, mayMoveTo } from './connection-state.js'
import { errorOfWire, messageError, wireNumberOf } from './failure.js'
import { decodeHello, encodeHello, type Hello } from './hello.js'
import { KeepAlive } from './keep-alive.js'
import type { MessageConnection } from './message-connection.js'
import {
  compressedFlag,
  packetData,
  packetGoodbye,
  packetHello,
  packetKeepAlive,
  packetOf,
  packetSecure,
} from './packet.js'
import { PacketReader, type PacketSink } from './packet-reader.js'
import { MessageSender } from './sender.js'
import { Standstill } from './standstill.js'

const noPayload = new Uint8Array(0)
const keepAlivePacket = packetOf(packetKeepAlive, noPayload)
const securePacket = packetOf(packetSecure, noPayload)
const emptyPacket = packetOf(packetData, noPayload)
/** Bytes of the raw phase that nobody has read. */
const mostRawBytes = 65_536

type Decompress = (payload: Uint8Array) => Uint8Array

interface Settling {
  resolve: () => void
  reject: (error: SluiceError) => void
}

/** The life of a connection, below its messages: the raw phase, hellos, TLS, keep-alives, and goodbyes. */
export abstract class MessageLink extends MessageSender implements PacketSink {
  /** Whatever belongs to this connection; sluice does not look at it. */
  data: unknown = undefined
  /** What `activate()` was given: who the peer has proved to be. */
  identity: unknown = undefined
  /** @internal What the peer has said first. */ hello: Hello | undefined = undefined
  /** @internal The peer begins nothing new, and wants nothing new. */ isLeaving = false
  /** @internal */ protected current: MessageConnectionState = 'raw'
  /** @internal */ protected isBlocked = false
  /** @internal */ protected readonly standstill: Standstill
  /** @internal */ protected inTurn = false
  /** @internal */ protected isEnding = false
  /** @internal */ protected securing: 'no' | 'asked' | 'handshake' = 'no'
  private readonly packets: PacketReader
  private rawInput: ByteQueue | undefined = undefined
  private whenSecured: Settling | undefined = undefined
  private whenGreeted: Settling | undefined = undefined
  private decompress: Decompress | undefined = undefined
  private isToBeActive = false
  private isReadingHeld = false
  private isPaused = false
  private closeError: SluiceError | undefined = undefined
  /** @internal */ protected readonly keepAlive: KeepAlive
  private cancelActivation: (() => void) | undefined = undefined

  /** @internal */
  constructor(
    /** @internal */ readonly owner: ConnectionOwner,
    /** What it runs over. Its bytes are not to be touched. */
    readonly transport: Connection,
    /** Whether this side has connected; the other one has accepted. */
    readonly isClient: boolean,
  ) {
    super()
    this.packets = new PacketReader(this)
    this.keepAlive = new KeepAlive(owner, isClient, () => {
      const maySend = this.securing === 'no' && !this.isEnding
      if (maySend) this.sendPacket(keepAlivePacket)
      return maySend
    })
    const sentBytes = () => transport.stats().bytesWritten
    this.standstill = new Standstill(owner.clock, owner.slowSendMs, sentBytes, () => owner.slow(this.self))
    if (owner.activationTimeoutMs > 0) {
      const expire = () => this.fail(messageError('MESSAGE_INACTIVE', 'it was not activated in time'))
      this.cancelActivation = owner.clock.after(owner.activationTimeoutMs, expire)
    }
  }

  /** @internal Says hello, or waits for the raw phase to end. */
  start(startsRaw: boolean): void {
    if (startsRaw) this.raw.onChange(() => this.holdReading())
    else this.greet()
  }

  // ---- What messages do

  /** @internal */
  protected abstract get self(): MessageConnection
  /** @internal Messages may begin, with what the peer has said. Throws when they cannot. */
  protected abstract beginMessages(hello: Hello): { decompress: Decompress | undefined }
  /** @internal Commands have come in; see {@link MessageReader.data}. */
  protected abstract dataReceived(bytes: Uint8Array, from: number, to: number, rest: number): number
  /** @internal Sends what can be sent, and looks whether reading may go on. */
  abstract flushNow(): void
  /** @internal Writes what has been packed. */
  protected abstract flushPacked(): void
  /** @internal What has not begun goes elsewhere. */
  protected abstract tellLeaving(): void
  /** @internal Whether something is still under way on it. */
  abstract get isBusy(): boolean
  /** @internal Whether so much waits that nothing more should be read. */
  protected abstract get isOverloaded(): boolean

  // ---- State

  /** Where it is in its life. */
  get state(): MessageConnectionState {
    return this.current
  }

  /**
   * Which pool of the peer has made it: connections of one pool have the same name, which is made up by the peer, and proves
   * nothing. Undefined before its hello, and for connections that go the other way.
   */
  get peerPool(): string | undefined {
    return this.hello?.pool || undefined
  }

  /** Whether it goes over TLS. */
  get isSecure(): boolean {
    return this.transport.tls !== undefined
  }

  private moveTo(state: MessageConnectionState): void {
    if (!mayMoveTo(this.current, state)) throw new Error(`a connection cannot go from ${this.current} to ${state}`)
    this.current = state
  }

  /** @internal */
  protected requireState(what: string, ...states: MessageConnectionState[]): void {
    if (states.includes(this.current)) return
    throw messageError('MESSAGE_INVALID_STATE', `${what} is not possible while it is ${this.current}`)
  }

  /**
   * Lets everything pass from now on, or from the peer's hello on. `identity` is then what handlers see.
   *
   * @throws {SluiceError} `ERR_SLUICE_MESSAGE_INVALID_STATE` if it is active already, or closing.
   */
  activate(identity?: unknown): void {
    this.requireState('activate()', 'raw', 'greeting', 'inactive')
    if (identity !== undefined) this.identity = identity
    if (this.current !== 'inactive') {
      this.isToBeActive = true
      return
    }
    this.owner.admit(this.self)
    this.cancelActivation?.()
    this.cancelActivation = undefined
    this.moveTo('active')
    this.keepAlive.start()
    this.owner.activated(this.self)
  }

  // ---- The raw phase

  /** What has come in before the first packet; `await raw.available(n)` waits for more, and reading rests while there are
   *  65 536 bytes. Source: SF-51. */
  get raw(): ByteQueue {
    this.rawInput ??= new ByteQueue()
    return this.rawInput
  }

  /** Writes bytes as they are. @throws {SluiceError} `ERR_SLUICE_MESSAGE_INVALID_STATE` unless it is raw. */
  writeRaw(bytes: Uint8Array | string): void {
    this.requireState('writeRaw()', 'raw')
    this.transport.write(bytes)
  }

  /**
   * Ends the raw phase: what has not been read of `raw` is taken for packets. With `secure`, TLS begins instead, and
   * packets go over that; nothing may be left in `raw` then (D16). Resolves when both have said hello.
   *
   * @throws {SluiceError} `ERR_SLUICE_MESSAGE_INVALID_STATE`, `ERR_SLUICE_MESSAGE_NO_TLS`,
   *   `ERR_SLUICE_PLAINTEXT_BEFORE_TLS`, and of the handshake.
   */
  async leaveRaw({ secure = false }: { secure?: boolean } = {}): Promise<void> {
    this.requireState('leaveRaw()', 'raw')
    if (secure) {
      if (this.raw.sizeBytes > 0) {
        const error = new SluiceError('PLAINTEXT_BEFORE_TLS', { phase: 'message' })
        this.fail(error)
        throw error
      }
      await this.handshake()
    }
    this.holdReading()
    this.greet()
    const rest = this.raw.read()
    const greeted = new Promise<void>((resolve, reject) => {
      this.whenGreeted = { resolve, reject }
    })
    if (rest.length > 0) this.received(rest)
    await greeted
  }

  private greet(): void {
    this.moveTo('greeting')
    this.sendPacket(packetOf(packetHello, encodeHello(this.owner.hello)))
  }

  // ---- TLS

  /**
   * Goes on in TLS: asks the server, which must have `tls`. Messages wait meanwhile. Resolves when the handshake is done.
   *
   * @throws {SluiceError} `ERR_SLUICE_MESSAGE_INVALID_STATE`, `ERR_SLUICE_MESSAGE_NO_TLS`, and of the handshake, which end
   *   the connection.
   */
  async secure(): Promise<void> {
    this.requireState('secure()', 'inactive', 'active')
    if (!this.isClient) throw messageError('MESSAGE_INVALID_STATE', 'secure() is for the side that has connected')
    if (this.isSecure || this.securing !== 'no') throw messageError('MESSAGE_INVALID_STATE', 'it is secure already')
    if (this.owner.tlsOf(this.self) === undefined) throw messageError('MESSAGE_NO_TLS')
    this.flushPacked()
    this.securing = 'asked'
    this.sendPacket(securePacket)
    await new Promise<void>((resolve, reject) => {
      this.whenSecured = { resolve, reject }
    })
  }

  private async handshake(): Promise<void> {
    const tls = this.owner.tlsOf(this.self)
    if (tls === undefined) {
      const error = messageError('MESSAGE_NO_TLS')
      this.fail(error)
      throw error
    }
    this.securing = 'handshake'
    await this.transport.startTls(tls as never)
    this.securing = 'no'
    this.flushNow()
  }

  // Answers whether the rest of what came in are packets: not if TLS begins here.
  private secureReceived(): false {
    if (this.current !== 'inactive' && this.current !== 'active')
      throw messageError('MESSAGE_INVALID_STATE', `the peer wants TLS while it is ${this.current}`)
    if (this.isClient ? this.securing !== 'asked' : this.securing !== 'no' || this.isSecure)
      throw messageError('MESSAGE_INVALID_STATE', 'the peer wants TLS out of turn')
    if (!this.isClient) {
      if (this.owner.tlsOf(this.self) === undefined) throw messageError('MESSAGE_NO_TLS')
      this.flushPacked()
      this.sendPacket(securePacket)
    }
    const waiting = this.whenSecured
    this.whenSecured = undefined
    this.handshake().then(
      () => waiting?.resolve(),
      (error: SluiceError) => {
        this.fail(error)
        waiting?.reject(error)
      },
    )
    return false
  }

  // ---- Receiving

  /**
   * Reads nothing more: no messages, no answers, no keep-alives; `inactivityTimeoutMs` rests too. The peer goes on until the
   * buffers between are full. What has been read already is still handled. Source: SF-58.
   */
  pause(): void {
    this.isPaused = true
    this.holdReading()
  }

  /** Undoes `pause()`. */
  resume(): void {
    this.isPaused = false
    this.holdReading()
  }

  /** @internal What the transport brings. */
  received(bytes: Uint8Array): void {
    if (this.isEnding) return
    if (this.current === 'raw') {
      this.raw.append(bytes)
      return
    }
    this.inTurn = true
    const { lastSentMs } = this.keepAlive
    try {
      const used = this.packets.feed(bytes)
      if (used < bytes.length && !this.isEnding) throw new SluiceError('PLAINTEXT_BEFORE_TLS', { phase: 'message' })
    } catch (thrown) {
      if (!(thrown instanceof SluiceError)) throw thrown
      this.fail(thrown)
    } finally {
      this.inTurn = false
      if (this.hello !== undefined) this.flushNow()
      if (this.keepAlive.lastSentMs === lastSentMs) this.tellHeard()
    }
  }

  // Who only sends is never silent, so it sends no keep-alives and would hear nothing: without this it would take a server
  // that has nothing to say for gone (SF-62).
  private tellHeard(): void {
    const isReady = this.current === 'inactive' || this.current === 'active'
    if (this.isClient || !isReady || this.isEnding || this.isBlocked || this.securing !== 'no') return
    if (this.keepAlive.isQuiet) this.sendPacket(emptyPacket)
  }

  /** @internal */
  packet(type: number, flags: number, bytes: Uint8Array, from: number, to: number): boolean {
    if (type === packetData) {
      if (this.current === 'greeting') throw messageError('MESSAGE_INVALID_STATE', 'data came before the hello')
      if ((flags & compressedFlag) === 0) {
        this.dataReceived(bytes, from, to, 0)
      } else {
        if (this.decompress === undefined) throw messageError('MESSAGE_COMPRESSION_UNAVAILABLE')
        const payload = this.decompress(bytes.subarray(from, to))
        this.dataReceived(payload, 0, payload.length, 0)
      }
      return !this.isEnding
    }
    switch (type) {
      case packetKeepAlive:
        if (this.current === 'greeting')
          throw messageError('MESSAGE_INVALID_STATE', 'a keep-alive came before the hello')
        this.keepAlive.received()
        break
      case packetHello:
        this.helloReceived(bytes.subarray(from, to))
        break
      case packetSecure:
        return this.secureReceived()
      case packetGoodbye:
        this.goodbyeReceived(bytes.subarray(from, to))
        break
    }
    return !this.isEnding
  }

  /** @internal */
  part(bytes: Uint8Array, from: number, to: number, rest: number): number {
    if (this.current === 'greeting') throw messageError('MESSAGE_INVALID_STATE', 'data came before the hello')
    return this.isEnding ? to : this.dataReceived(bytes, from, to, rest)
  }

  private helloReceived(payload: Uint8Array): void {
    if (this.current !== 'greeting') throw messageError('MESSAGE_INVALID_STATE', 'the peer says hello out of turn')
    const hello = decodeHello(payload)
    this.hello = hello
    const { decompress } = this.beginMessages(hello)
    this.decompress = decompress
    this.owner.met(this.self)
    this.moveTo('inactive')
    this.whenGreeted?.resolve()
    if (this.isToBeActive) this.activate()
    else this.owner.greeted(this.self)
  }

  private goodbyeReceived(payload: Uint8Array): void {
    if (payload.length < 2) throw messageError('MESSAGE_INVALID_PACKET', 'a goodbye is cut off')
    const number = payload[0]! | (payload[1]! << 8)
    if (number === 0) {
      this.isLeaving = true
      this.tellLeaving()
      this.closeIfDone()
      return
    }
    const text = Buffer.from(payload.subarray(2)).toString()
    this.end(errorOfWire(number, text.slice(0, 1000)))
  }

  // Reading rests while too much waits: bytes of the raw phase, answers that do not leave, handlers that do not finish.
  /** @internal */
  protected holdReading(): void {
    const isTooMuch = this.current === 'raw' ? this.raw.sizeBytes >= mostRawBytes : this.isOverloaded
    const mustRest = isTooMuch || this.isPaused
    if (mustRest === this.isReadingHeld) return
    this.isReadingHeld = mustRest
    if (mustRest) this.transport.pause()
    else this.transport.resume()
  }

  /** @internal The peer was silent for too long, or takes nothing. */
  timedOut(kind: TimeoutKind): void {
    const error = messageError('MESSAGE_INACTIVE', kind === 'write' ? 'it takes nothing' : undefined)
    // There is no use in saying goodbye to who does not listen.
    if (kind === 'write') this.destroy(error)
    else this.fail(error)
  }

  /** @internal Resolves when it is gone. */
  get gone(): Promise<void> {
    return new Promise((resolve) => this.whenGone(resolve))
  }

  /** @internal */
  whenGone(callback: () => void): void {
    this.transport.whenClosed(() => callback())
  }

  /** @internal */
  protected sendPacket(packet: Uint8Array): void {
    if (!this.transport.isWritable) return
    this.keepAlive.lastSentMs = this.owner.clock.nowMs()
    if (!this.transport.write(packet)) this.blocked()
  }

  /** @internal The transport wants no more for now. */
  protected blocked(): void {
    this.isBlocked = true
    this.standstill.blocked()
  }

  // ---- Ending

  /**
   * Begins nothing new, finishes what has begun on either side, and closes; after `timeoutMs` (default 5 000) it is ended
   * in any case. Resolves when it is gone.
   */
  async close({ timeoutMs = 5000 }: { timeoutMs?: number } = {}): Promise<void> {
    const { gone } = this
    if (this.current === 'raw' || this.current === 'greeting') this.end(undefined)
    else if (this.current !== 'closing' && this.current !== 'closed') {
      this.moveTo('closing')
      this.flushPacked()
      this.sendPacket(packetOf(packetGoodbye, Uint8Array.of(0, 0)))
      if (timeoutMs > 0) this.whenGone(this.owner.clock.after(timeoutMs, () => this.destroy()))
      this.closeIfDone()
    }
    await gone
  }

  /** @internal */
  protected closeIfDone(): void {
    if (this.isEnding || this.isBusy) return
    if (this.current !== 'closing' && !(this.isLeaving && this.isClient)) return
    this.end(undefined)
  }

  /** Ends it now. What is under way completes with `ERR_SLUICE_MESSAGE_CONNECTION`. Source: SF-46. */
  destroy(error?: SluiceError): void {
    if (this.isEnding) return
    this.isEnding = true
    this.closeError ??= error
    this.transport.destroy(error)
  }

  /** @internal */
  get isOver(): boolean {
    return this.isEnding
  }

  /** @internal Tells the peer what is wrong, and ends. */
  fail(error: SluiceError): void {
    if (this.isEnding) return
    this.closeError ??= error
    const canTell = this.current !== 'raw' && this.securing === 'no' && this.transport.isWritable
    if (canTell) {
      const text = Buffer.from(error.message.slice(0, 500))
      const number = wireNumberOf(error)
      this.flushPacked()
      this.sendPacket(packetOf(packetGoodbye, Buffer.concat([Uint8Array.of(number & 0xff, number >>> 8), text])))
    }
    this.end(error)
  }

  /** @internal The peer says nothing more, so nothing that is under way can be answered; the transport closes. */
  ended(): void {
    this.isEnding = true
  }

  private end(error: SluiceError | undefined): void {
    if (this.isEnding) return
    this.isEnding = true
    this.closeError ??= error
    void this.transport.close({ timeoutMs: this.owner.closeTimeoutMs })
  }

  /** @internal The transport is gone. Answers why. */
  protected finish(error: SluiceError | undefined): SluiceError | undefined {
    this.isEnding = true
    const cause = this.closeError ?? error
    this.keepAlive.stop()
    this.standstill.stop()
    this.cancelActivation?.()
    this.current = 'closed'
    this.rawInput?.end(cause)
    const lost = cause ?? messageError('MESSAGE_CONNECTION')
    this.whenSecured?.reject(lost)
    this.whenGreeted?.reject(lost)
    return cause
  }
}
