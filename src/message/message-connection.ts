import { ByteQueue } from '../byte-queue/queue.js'
import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { TimeoutKind } from '../handlers.js'
import { readFailure } from './answer.js'
import { AnswerDesk } from './answer-desk.js'
import { BodyCollector, tooLarge } from './body-collector.js'
import { codecError } from './codec.js'
import type { ConnectionOwner } from './connection-owner.js'
import { type MessageConnectionState, mayMoveTo } from './connection-state.js'
import type { Endpoint } from './destination.js'
import { errorOfWire, messageError, wireNumberOf } from './failure.js'
import { awaitsAnswer, isAnswer, isFailureAnswer, type MessageHeader, partOfAnswer } from './header.js'
import { decodeHello, encodeHello, type Hello } from './hello.js'
import { IncomingMessage } from './incoming-message.js'
import { KeepAlive } from './keep-alive.js'
import { type IncomingBody, MessageReader, type MessageSink } from './message-reader.js'
import { MessageWriter, type WriterPort } from './message-writer.js'
import type { Outgoing, OutgoingHolder } from './outgoing.js'
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
import type { Message } from './protocol.js'
import { RequestTable } from './request-table.js'
import { MessageSender, type SenderOwner } from './sender.js'

const noPayload = new Uint8Array(0)
const keepAlivePacket = packetOf(packetKeepAlive, noPayload)
const securePacket = packetOf(packetSecure, noPayload)
/** Answers and other messages that wait for room, from which on nothing more is read. */
const mostWaiting = 1024
/** Bytes of the raw phase that nobody has read. */
const mostRawBytes = 65_536

/** Connections that have something to write, outside their own turns. */
const dirty: MessageConnection[] = []

function flushDirty(): void {
  for (const connection of dirty.splice(0)) connection.flushNow()
}

/**
 * A connection of messages, as handlers see it in their context. Messages sent to it, and not to a pool, go over this
 * connection or not at all.
 */
export class MessageConnection extends MessageSender implements OutgoingHolder, PacketSink, MessageSink, WriterPort {
  /** Whatever belongs to this connection; sluice does not look at it. */
  data: unknown = undefined
  /** What `activate()` was given: who the peer has proved to be. */
  identity: unknown = undefined
  /** @internal The address of its pool that it goes to. */
  target: Endpoint | undefined = undefined
  /** @internal This side has begun to leave it, because its address is not used any more. */
  isLeft = false
  /** @internal */ readonly requests: RequestTable
  /** @internal */ readonly answers: AnswerDesk
  /** @internal */ writer: MessageWriter | undefined = undefined
  /** @internal What the peer has said first. */ hello: Hello | undefined = undefined
  /** @internal The peer begins nothing new, and wants nothing new. */ isLeaving = false
  private current: MessageConnectionState
  private readonly packets: PacketReader
  private readonly reader: MessageReader
  private typeNumbers = new Map<Message, number>()
  private readonly rawInput = new ByteQueue()
  private securing: 'no' | 'asked' | 'handshake' = 'no'
  private whenSecured: { resolve: () => void; reject: (error: SluiceError) => void } | undefined = undefined
  private whenGreeted: { resolve: () => void; reject: (error: SluiceError) => void } | undefined = undefined
  private decompress: ((payload: Uint8Array) => Uint8Array) | undefined = undefined
  private isBlocked = false
  private inTurn = false
  private isDirty = false
  private isReadingHeld = false
  private isEnding = false
  private closeError: SluiceError | undefined = undefined
  private readonly keepAlive: KeepAlive
  private cancelActivation: (() => void) | undefined = undefined
  private collecting = 0

  /** @internal */
  constructor(
    /** @internal */ readonly owner: ConnectionOwner,
    /** What it runs over. Its bytes are not to be touched. */
    readonly transport: Connection,
    /** Whether this side has connected; the other one has accepted. */
    readonly isClient: boolean,
    startsRaw: boolean,
  ) {
    super()
    this.packets = new PacketReader(this)
    const { hello } = owner
    this.reader = new MessageReader(this, hello.slots, hello.window)
    this.requests = new RequestTable(owner.maxRequests)
    this.answers = new AnswerDesk(this, hello.requests)
    this.current = 'raw'
    this.keepAlive = new KeepAlive(owner, isClient, () => {
      if (this.securing === 'no' && !this.isEnding) this.sendPacket(keepAlivePacket)
    })
    if (owner.activationTimeoutMs > 0) {
      const expire = () => this.fail(messageError('MESSAGE_INACTIVE', 'it was not activated in time'))
      this.cancelActivation = owner.clock.after(owner.activationTimeoutMs, expire)
    }
    if (startsRaw) this.rawInput.onChange(() => this.holdReading())
    else this.greet()
  }

  // ---- State

  /** Where it is in its life. */
  get state(): MessageConnectionState {
    return this.current
  }

  /** Whether it goes over TLS. */
  get isSecure(): boolean {
    return this.transport.tls !== undefined
  }

  private moveTo(state: MessageConnectionState): void {
    if (!mayMoveTo(this.current, state)) throw new Error(`a connection cannot go from ${this.current} to ${state}`)
    this.current = state
  }

  private requireState(what: string, ...states: MessageConnectionState[]): void {
    if (states.includes(this.current)) return
    throw messageError('MESSAGE_INVALID_STATE', `${what} is not possible while it is ${this.current}`)
  }

  /**
   * Lets everything pass from now on. `identity` is then what handlers see.
   *
   * @throws {SluiceError} `ERR_SLUICE_MESSAGE_INVALID_STATE` unless it is inactive.
   */
  activate(identity?: unknown): void {
    this.requireState('activate()', 'inactive')
    this.owner.admit(this)
    if (identity !== undefined) this.identity = identity
    this.cancelActivation?.()
    this.cancelActivation = undefined
    this.moveTo('active')
    this.keepAlive.start()
    this.owner.activated(this)
  }

  /** @internal Whether the message of a pool may be taken. */
  get isReady(): boolean {
    return this.current === 'active' && !this.isLeaving && this.requests.hasRoom && this.writer!.isReady
  }

  // ---- The raw phase

  /** What has come in before the first packet; `await raw.available(n)` waits for more, and reading rests while there are
   *  65 536 bytes. Source: SF-51. */
  get raw(): ByteQueue {
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
      if (this.rawInput.sizeBytes > 0) {
        const error = new SluiceError('PLAINTEXT_BEFORE_TLS', { phase: 'message' })
        this.fail(error)
        throw error
      }
      await this.handshake()
    }
    this.holdReading()
    this.greet()
    const rest = this.rawInput.read()
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
  secure(): Promise<void> {
    this.requireState('secure()', 'inactive', 'active')
    if (!this.isClient) throw messageError('MESSAGE_INVALID_STATE', 'secure() is for the side that has connected')
    if (this.isSecure || this.securing !== 'no') throw messageError('MESSAGE_INVALID_STATE', 'it is secure already')
    if (this.owner.tlsOf(this) === undefined) throw messageError('MESSAGE_NO_TLS')
    this.writer!.flush()
    this.securing = 'asked'
    this.transport.write(securePacket)
    return new Promise((resolve, reject) => {
      this.whenSecured = { resolve, reject }
    })
  }

  private async handshake(): Promise<void> {
    const tls = this.owner.tlsOf(this)
    if (tls === undefined) {
      const error = messageError('MESSAGE_NO_TLS')
      this.fail(error)
      throw error
    }
    this.securing = 'handshake'
    await this.transport.startTls(tls as never)
    this.securing = 'no'
    this.pump()
  }

  // Answers whether the rest of what came in are packets: not if TLS begins here.
  private secureReceived(): false {
    if (this.current !== 'inactive' && this.current !== 'active')
      throw messageError('MESSAGE_INVALID_STATE', `the peer wants TLS while it is ${this.current}`)
    if (this.isClient ? this.securing !== 'asked' : this.securing !== 'no' || this.isSecure)
      throw messageError('MESSAGE_INVALID_STATE', 'the peer wants TLS out of turn')
    if (!this.isClient) {
      if (this.owner.tlsOf(this) === undefined) throw messageError('MESSAGE_NO_TLS')
      this.writer!.flush()
      this.transport.write(securePacket)
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

  /** @internal What the transport brings. */
  received(bytes: Uint8Array): void {
    if (this.isEnding) return
    if (this.current === 'raw') {
      this.rawInput.append(bytes)
      return
    }
    this.inTurn = true
    try {
      const used = this.packets.feed(bytes)
      if (used < bytes.length && !this.isEnding) throw new SluiceError('PLAINTEXT_BEFORE_TLS', { phase: 'message' })
    } catch (thrown) {
      if (!(thrown instanceof SluiceError)) throw thrown
      this.fail(thrown)
    } finally {
      this.inTurn = false
      if (this.writer !== undefined) this.flushNow()
    }
  }

  // Reading rests while too much waits: bytes of the raw phase, answers that do not leave, handlers that do not finish.
  private holdReading(): void {
    const waiting = this.writer?.waiting ?? 0
    const isTooMuch =
      this.current === 'raw'
        ? this.rawInput.sizeBytes >= mostRawBytes
        : waiting >= (this.isReadingHeld ? mostWaiting / 2 : mostWaiting) || this.answers.isOverloaded
    if (isTooMuch === this.isReadingHeld) return
    this.isReadingHeld = isTooMuch
    if (isTooMuch) this.transport.pause()
    else this.transport.resume()
  }

  /** @internal */
  packet(type: number, flags: number, bytes: Uint8Array, from: number, to: number): boolean {
    if (type === packetData) {
      if (this.current === 'greeting') throw messageError('MESSAGE_INVALID_STATE', 'data came before the hello')
      if ((flags & compressedFlag) === 0) {
        this.reader.data(bytes, from, to)
      } else {
        if (this.decompress === undefined) throw messageError('MESSAGE_COMPRESSION_UNAVAILABLE')
        const payload = this.decompress(bytes.subarray(from, to))
        this.reader.data(payload, 0, payload.length)
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

  private helloReceived(payload: Uint8Array): void {
    if (this.current !== 'greeting') throw messageError('MESSAGE_INVALID_STATE', 'the peer says hello out of turn')
    const hello = decodeHello(payload)
    this.hello = hello
    const { numbers, isCommon } = this.owner.numbersFor(hello)
    if (!isCommon) {
      const told = hello.protocols.map(({ name, version }) => `${name} ${version}`).join(', ') || 'nothing'
      throw messageError('MESSAGE_VERSION', `the peer speaks ${told}`)
    }
    this.typeNumbers = numbers
    const { compressor, decompress } = this.owner.compressionFor(hello)
    this.decompress = decompress
    this.requests.limit(hello.requests)
    this.writer = new MessageWriter(this, hello.slots, hello.window, compressor)
    this.moveTo('inactive')
    this.whenGreeted?.resolve()
    this.owner.greeted(this)
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

  private tellLeaving(): void {
    const waiting = this.writer?.takeWaiting() ?? []
    const unsent: Outgoing[] = []
    for (const outgoing of waiting) {
      // Answers, and what was sent to this very connection, can go nowhere else.
      if (outgoing.onEnd === undefined || outgoing.oneShot) this.writer!.put(outgoing)
      else {
        this.requests.remove(outgoing)
        unsent.push(outgoing)
      }
    }
    this.owner.leaving(this, unsent)
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

  // ---- Messages that come in

  /** @internal */
  message(header: MessageHeader, bytes: Uint8Array, from: number, to: number): void {
    if ((header.flags & isAnswer) === 0) {
      if (to - from > this.maxBodyBytes) {
        const error = tooLarge(to - from, this.maxBodyBytes)
        this.answers.refuse(header, error)
        this.endStranger(error)
        return
      }
      const context = this.answers.accept(header)
      if (context !== undefined) this.answers.deliver(context, bytes.subarray(from, to))
      return
    }
    const outgoing = this.requests.find(header.index, header.unique)
    if (outgoing === undefined) return
    if (to - from <= this.maxBodyBytes) {
      this.answered(outgoing, header.flags, bytes.subarray(from, to))
      return
    }
    this.settled(outgoing, tooLarge(to - from, this.maxBodyBytes), undefined)
  }

  /** @internal */
  begin(header: MessageHeader, slot: number, round: number): IncomingBody | undefined {
    const isReply = (header.flags & isAnswer) !== 0
    const { flags, index, unique } = header
    const pending = isReply ? this.requests.find(index, unique) : undefined
    const context = isReply ? undefined : this.answers.accept(header)
    if (isReply ? pending === undefined : context === undefined) {
      this.writer!.putRefuse(slot, round, wireNumberOf(messageError('MESSAGE_CANCELED')))
      return undefined
    }
    this.collecting++
    const incoming = new IncomingMessage(this, slot, round, flags, context, pending)
    const collector = new BodyCollector(incoming, header.sizeBytes, this.maxBodyBytes, this.owner.hello.window)
    if (!collector.isTooLarge) return collector
    incoming.collectingFailed(tooLarge(header.sizeBytes, this.maxBodyBytes))
    return undefined
  }

  /** @internal The peer may send more of a body. */
  allow(slot: number, round: number, bytes: number): void {
    if (!this.reader.allow(slot, round, bytes)) return
    this.writer!.putGrant(slot, round, bytes)
    this.touch()
  }

  /** @internal The rest of a body is not wanted. */
  refuse(slot: number, round: number, error: SluiceError): void {
    if (!this.reader.ignore(slot, round)) return
    this.writer!.putRefuse(slot, round, wireNumberOf(error))
    this.touch()
  }

  /** @internal */
  collected(): void {
    this.collecting--
  }

  private get maxBodyBytes(): number {
    return this.current === 'inactive' && !this.isClient
      ? this.owner.maxStrangerMessageBytes
      : this.owner.maxMessageBytes
  }

  /** @internal Who is not known yet has no second try. Source: IC-29. */
  endStranger(error: SluiceError): void {
    if (this.current === 'inactive' && !this.isClient) throw error
  }

  /** @internal */
  answered(outgoing: Outgoing, flags: number, body: Uint8Array): void {
    if ((flags & isFailureAnswer) !== 0) {
      this.settled(outgoing, readFailure(body), undefined)
      return
    }
    const message = outgoing.message!
    let value: unknown
    try {
      if (message.kind !== 'oneWay' && !(message.kind === 'parts' && body.length === 0 && (flags & partOfAnswer) === 0))
        value = message.answer.decode(body)
    } catch (thrown) {
      this.settled(outgoing, codecError(thrown, `the answer to ${message.name}`), undefined)
      return
    }
    if ((flags & partOfAnswer) !== 0) {
      outgoing.part?.(value)
      return
    }
    this.settled(outgoing, undefined, value)
  }

  /** @internal A request is over, and there may be room for another. */
  settled(outgoing: Outgoing, error: SluiceError | undefined, answer: unknown): void {
    this.requests.remove(outgoing)
    if (outgoing.slot >= 0) this.writer!.giveUp(outgoing)
    outgoing.complete(error, answer)
    this.owner.roomFor(this)
    if (this.isLeaving || this.current === 'closing') this.closeIfDone()
  }

  // ---- What the peer says of our messages

  /** @internal */
  granted(slot: number, round: number, bytes: number): void {
    this.writer!.grant(slot, round, bytes)
  }

  /** @internal */
  refused(slot: number, round: number, number: number): void {
    const outgoing = this.writer!.messageAt(slot, round)
    if (outgoing === undefined) return
    this.writer!.giveUp(outgoing)
    // A request has its answer, or will have it. What has no answer ends here.
    if ((outgoing.flags & awaitsAnswer) !== 0) return
    outgoing.complete(errorOfWire(number, ''), undefined)
  }

  /** @internal */
  requestCanceled(index: number, unique: number): void {
    this.answers.cancel(index, unique)
  }

  /** @internal */
  morePartsTaken(index: number, unique: number, parts: number): void {
    this.answers.allowParts(index, unique, parts)
  }

  // ---- Sending

  /** @internal */
  get senderOwner(): SenderOwner {
    return this.owner
  }

  /** @internal */
  get hasCapacity(): boolean {
    return this.writer?.isReady === true && this.hasRoom
  }

  /** @internal Over this connection, or not at all (SF-25, SF-52). */
  submit(outgoing: Outgoing): void {
    this.requireState('sending', 'inactive', 'active')
    const isAsked = (outgoing.flags & awaitsAnswer) !== 0
    if (this.writer!.waiting >= this.owner.maxQueuedMessages || (isAsked && !this.requests.hasRoom))
      throw messageError('MESSAGE_QUEUE_FULL', 'this connection takes no more')
    this.take(outgoing)
  }

  /** @internal Takes a message; the connection is ready for it, or will send it later. */
  take(outgoing: Outgoing): void {
    outgoing.holder = this
    const { message } = outgoing
    if (message !== undefined) {
      const number = this.typeNumbers.get(message)
      if (number === undefined) {
        outgoing.complete(this.owner.unknownType(message, this.hello!), undefined)
        return
      }
      outgoing.type = number
      if ((outgoing.flags & awaitsAnswer) !== 0) this.requests.add(outgoing)
    }
    this.writer!.put(outgoing)
    this.touch()
  }

  /** @internal Stops a message of this connection that its sender does not want any more. */
  drop(outgoing: Outgoing): void {
    const { state } = outgoing
    const isAsked = (outgoing.flags & awaitsAnswer) !== 0 && outgoing.message !== undefined
    const hasLeft = outgoing.packet >= 0
    const wasWriting = state === 'writing' && outgoing.slot >= 0
    if (state === 'queued' || wasWriting) this.writer!.giveUp(outgoing)
    if (isAsked) {
      this.requests.remove(outgoing)
      // Whole at the peer, or in the packet that is about to leave.
      if (hasLeft && !wasWriting && !this.isEnding) this.writer!.putCancelRequest(outgoing.index, outgoing.unique)
    }
    this.touch()
  }

  /** @internal */
  dropped(): void {
    if (this.writer === undefined || this.isEnding) return
    this.owner.roomFor(this)
    this.closeIfDone()
  }

  /** @internal */
  allowParts({ index, unique }: Outgoing, parts: number): void {
    if (this.isEnding) return
    this.writer!.putMoreParts(index, unique, parts)
    this.touch()
  }

  /** @internal */
  touch(): void {
    if (this.inTurn || this.isDirty) return
    this.isDirty = true
    if (dirty.push(this) === 1) process.nextTick(flushDirty)
  }

  /** @internal */
  flushNow(): void {
    this.isDirty = false
    this.pump()
    this.holdReading()
  }

  private pump(): void {
    if (this.writer === undefined || this.isEnding || !this.transport.isWritable) return
    this.writer.pump()
    if (this.writer.isReady) this.owner.roomFor(this)
    this.writer.flush()
    if (this.isLeaving || this.current === 'closing') this.closeIfDone()
  }

  /** @internal The transport has room again. */
  drained(): void {
    this.isBlocked = false
    if (this.writer !== undefined) this.flushNow()
  }

  /** @internal */
  get hasRoom(): boolean {
    return !this.isBlocked && this.securing === 'no' && !this.isEnding && this.transport.isWritable
  }

  /** @internal */
  write(bytes: Uint8Array): void {
    this.keepAlive.lastSentMs = this.owner.clock.nowMs()
    if (!this.transport.write(bytes)) this.isBlocked = true
  }

  /** @internal */
  writeLent(bytes: Uint8Array, released: () => void): void {
    if (!this.transport.writeLent(bytes, released)) this.isBlocked = true
  }

  private sendPacket(packet: Uint8Array): void {
    if (!this.transport.isWritable) return
    this.keepAlive.lastSentMs = this.owner.clock.nowMs()
    if (!this.transport.write(packet)) this.isBlocked = true
  }

  /** @internal */
  written(outgoing: Outgoing): void {
    if ((outgoing.flags & awaitsAnswer) !== 0 && outgoing.message !== undefined) {
      outgoing.moveTo('awaiting')
      // It will not be sent again, so nobody needs its body.
      if (!outgoing.isRepeatable) outgoing.body = ''
      return
    }
    outgoing.complete(undefined, undefined)
  }

  /** @internal */
  bodyFailed(outgoing: Outgoing): void {
    const { body } = outgoing
    const failure = typeof body === 'object' && 'failure' in body ? body.failure : undefined
    if (outgoing.message !== undefined) this.requests.remove(outgoing)
    outgoing.complete(failure ?? messageError('MESSAGE_CANCELED'), undefined)
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
      this.writer!.flush()
      this.sendPacket(packetOf(packetGoodbye, Uint8Array.of(0, 0)))
      if (timeoutMs > 0) this.whenGone(this.owner.clock.after(timeoutMs, () => this.destroy()))
      this.closeIfDone()
    }
    await gone
  }

  /** @internal Finishes what has begun, however long that takes; what has not goes elsewhere. */
  leave(): void {
    this.isLeft = true
    this.tellLeaving()
    void this.close({ timeoutMs: 0 })
  }

  /** @internal Whether something is still under way on it. */
  get isBusy(): boolean {
    return this.requests.size > 0 || this.answers.size > 0 || this.collecting > 0 || this.writer?.isIdle === false
  }

  private closeIfDone(): void {
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
      this.writer?.flush()
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

  /** @internal The transport is gone. */
  closed(error: SluiceError | undefined): void {
    this.isEnding = true
    const cause = this.closeError ?? error
    this.keepAlive.stop()
    this.cancelActivation?.()
    this.current = 'closed'
    this.reader.end()
    this.rawInput.end(cause)
    const lost = new SluiceError('MESSAGE_CONNECTION', { phase: 'message', cause })
    this.whenSecured?.reject(cause ?? lost)
    this.whenGreeted?.reject(cause ?? lost)
    this.answers.end(lost)
    const { unsent, begun } = this.writer?.end() ?? { unsent: [], begun: [] }
    const awaiting = this.requests.drain()
    const isUnsent = new Set(unsent)
    const others = new Set([...begun, ...awaiting].filter((outgoing) => !isUnsent.has(outgoing)))
    this.owner.lost(this, unsent, [...others], lost, cause)
  }
}
