import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import { readFailure } from './answer.js'
import { AnswerDesk } from './answer-desk.js'
import { BodyCollector, tooLarge } from './body-collector.js'
import { codecError } from './codec.js'
import type { ConnectionOwner } from './connection-owner.js'
import type { Endpoint } from './destination.js'
import { errorOfWire, messageError, wireNumberOf } from './failure.js'
import { awaitsAnswer, isAnswer, isFailureAnswer, type MessageHeader, partOfAnswer } from './header.js'
import type { Hello } from './hello.js'
import { IncomingMessage } from './incoming-message.js'
import { MessageLink } from './message-link.js'
import { type IncomingBody, MessageReader, type MessageSink } from './message-reader.js'
import { MessageStream } from './message-stream.js'
import { MessageWriter, type WriterPort } from './message-writer.js'
import type { Outgoing, OutgoingHolder } from './outgoing.js'
import type { Message } from './protocol.js'
import { RequestTable } from './request-table.js'
import type { SenderOwner } from './sender.js'
import { StreamCodec } from './stream-codec.js'

/** Bytes beyond those that may be queued that commands may take when the peer does not read. */
const mostCommandBytes = 1 << 20

/** Connections that have something to write, outside their own turns. */
const dirty: MessageConnection[] = []

function flushDirty(): void {
  for (const connection of dirty.splice(0)) connection.flushNow()
}

/**
 * A connection of messages, as handlers see it in their context. Messages sent to it, and not to a pool, go over this
 * connection or not at all.
 */
export class MessageConnection extends MessageLink implements OutgoingHolder, MessageSink, WriterPort {
  /** @internal The address of its pool that it goes to. */
  target: Endpoint | undefined = undefined
  /** @internal This side has begun to leave it, because its address is not used any more. */
  isLeft = false
  /** @internal */ readonly requests: RequestTable
  /** @internal */ readonly answers: AnswerDesk
  /** @internal */ writer: MessageWriter | undefined = undefined
  private readonly reader: MessageReader
  private typeNumbers = new Map<Message, number>()
  private isDirty = false
  private collecting = 0

  /** @internal */
  constructor(owner: ConnectionOwner, transport: Connection, isClient: boolean) {
    super(owner, transport, isClient)
    const { hello } = owner
    this.reader = new MessageReader(this, hello.slots, hello.window)
    this.requests = new RequestTable(owner.maxRequests)
    this.answers = new AnswerDesk(this, hello.requests)
  }

  /** @internal */
  protected get self(): MessageConnection {
    return this
  }

  /** @internal Whether the message of a pool may be taken. */
  get isReady(): boolean {
    return this.current === 'active' && !this.isLeaving && this.requests.hasRoom && this.writer!.isReady
  }

  /** @internal */
  protected beginMessages(hello: Hello) {
    const { numbers, isCommon } = this.owner.numbersFor(hello)
    if (!isCommon) {
      const told = hello.protocols.map(({ name, version }) => `${name} ${version}`).join(', ') || 'nothing'
      throw messageError('MESSAGE_VERSION', `the peer speaks ${told}`)
    }
    this.typeNumbers = numbers
    const { compressor, decompress } = this.owner.compressionFor(hello)
    this.requests.limit(hello.requests)
    this.writer = new MessageWriter(this, hello.slots, hello.window, compressor)
    return { decompress }
  }

  /** @internal */
  protected dataReceived(bytes: Uint8Array, from: number, to: number, rest: number): number {
    return this.reader.data(bytes, from, to, rest)
  }

  /** @internal */
  protected flushPacked(): void {
    // What is packed when nothing can be written any more has not been sent.
    if (this.transport.isWritable) this.writer?.flush()
  }

  /** @internal */
  protected get isOverloaded(): boolean {
    const { writer, owner, transport } = this
    if (writer === undefined) return false
    // Who keeps to the rules reads on while it has so many requests: each side may wait for the other one, not both.
    if (writer.waitingAnswers > owner.hello.requests) return true
    if (this.isBlocked && transport.queuedBytes > owner.sendBufferBytes + mostCommandBytes) return true
    return this.answers.isOverloaded(this.requests.size > 0)
  }

  /** @internal */
  protected tellLeaving(): void {
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

  // ---- Messages that come in

  /** @internal */
  message(header: MessageHeader, bytes: Uint8Array, from: number, to: number): void {
    if ((header.flags & isAnswer) === 0) {
      if (this.isForOthers(header)) {
        this.owner.relay!.message(this, header, bytes.subarray(from, to))
        return
      }
      if (to - from > this.maxBodyBytes) {
        const error = tooLarge(to - from, this.maxBodyBytes)
        this.answers.refuse(header, error)
        this.endStranger(error)
        return
      }
      const context = this.answers.accept(header)
      if (context?.message.body instanceof StreamCodec) {
        this.wholeStream(
          new IncomingMessage(this, -1, 0, header.flags, context, undefined),
          context.message.body,
          bytes,
          from,
          to,
        )
      } else if (context !== undefined) {
        context.type!.receivedBytes += to - from
        this.answers.deliver(context, bytes.subarray(from, to), false)
      }
      return
    }
    const outgoing = this.requests.find(header.index, header.unique)
    if (outgoing === undefined) return
    if (outgoing.relayed !== undefined) {
      outgoing.relayed.answer(header.flags, bytes.subarray(from, to))
      if ((header.flags & partOfAnswer) === 0) this.settled(outgoing, undefined, undefined)
      return
    }
    const codec = streamOf(outgoing, header.flags)
    if (codec !== undefined) {
      this.wholeStream(new IncomingMessage(this, -1, 0, header.flags, undefined, outgoing), codec, bytes, from, to)
      return
    }
    if (to - from <= this.maxBodyBytes) {
      this.answered(outgoing, header.flags, bytes.subarray(from, to), false)
      return
    }
    this.settled(outgoing, tooLarge(to - from, this.maxBodyBytes), undefined)
  }

  /** @internal */
  begin(header: MessageHeader, slot: number, round: number): IncomingBody | undefined {
    const isReply = (header.flags & isAnswer) !== 0
    const { flags, index, unique } = header
    const pending = isReply ? this.requests.find(index, unique) : undefined
    if (!isReply && this.isForOthers(header)) {
      const body = this.owner.relay!.begin(this, header, slot, round)
      if (body === undefined) this.writer!.putRefuse(slot, round, this.answers.refusal)
      return body
    }
    if (pending?.relayed !== undefined) {
      const body = pending.relayed.beginAnswer(this, header, slot, round)
      if ((flags & partOfAnswer) === 0) this.settled(pending, undefined, undefined)
      return body
    }
    const context = isReply ? undefined : this.answers.accept(header)
    if (isReply ? pending === undefined : context === undefined) {
      this.writer!.putRefuse(
        slot,
        round,
        isReply ? wireNumberOf(messageError('MESSAGE_CANCELED')) : this.answers.refusal,
      )
      return undefined
    }
    this.collecting++
    const incoming = new IncomingMessage(this, slot, round, flags, context, pending, header.epoch)
    const codec = context === undefined ? streamOf(pending!, flags) : context.message.body
    if (codec instanceof StreamCodec) {
      const isStranger = this.current === 'inactive' && !this.isClient
      const maxBytes = isStranger ? this.owner.maxStrangerMessageBytes : Number.POSITIVE_INFINITY
      const stream = new MessageStream(incoming, codec.head, this.owner.hello.window, maxBytes)
      stream.start()
      return stream
    }
    const isLent = context !== undefined && codec?.lends === true
    const { window } = this.owner.hello
    const collector = new BodyCollector(incoming, header.sizeBytes, this.maxBodyBytes, window, isLent)
    if (!collector.isTooLarge) return collector
    incoming.collectingFailed(tooLarge(header.sizeBytes, this.maxBodyBytes))
    return undefined
  }

  // Source: SF-71, SF-73.
  private isForOthers(header: MessageHeader): boolean {
    if (header.group < 0 || this.owner.relay === undefined || this.current === 'inactive') return false
    this.answers.checkIndex(header)
    return true
  }

  /** @internal Whether a synchronous message could begin at once. */
  get isReadyForOrdered(): boolean {
    return this.isReady && !this.writer!.isSynchronousBusy
  }

  /** @internal Whether a relay may pass a message to it. */
  get canTakeRelayed(): boolean {
    return (
      this.current === 'active' &&
      !this.isLeaving &&
      this.requests.hasRoom &&
      this.writer!.waiting < this.owner.maxQueuedMessages
    )
  }

  private wholeStream(
    incoming: IncomingMessage,
    { head }: StreamCodec<unknown>,
    bytes: Uint8Array,
    from: number,
    to: number,
  ): void {
    this.collecting++
    const stream = new MessageStream(incoming, head, this.owner.hello.window, Number.POSITIVE_INFINITY)
    stream.start()
    if (to > from) stream.chunk(bytes, from, to)
    stream.end()
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
    if (this.isLeaving || this.current === 'closing') this.touch()
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
  answered(outgoing: Outgoing, flags: number, body: Uint8Array, owned: boolean): void {
    if ((flags & isFailureAnswer) !== 0) {
      this.settled(outgoing, readFailure(body), undefined)
      return
    }
    const message = outgoing.message!
    let value: unknown
    try {
      if (message.kind !== 'oneWay' && !(message.kind === 'parts' && body.length === 0 && (flags & partOfAnswer) === 0))
        value = message.answer.decode(body, owned)
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
    const goesOn = error === undefined && outgoing.slot >= 0 && outgoing.isStream
    if (outgoing.slot >= 0 && !goesOn) this.writer!.giveUp(outgoing)
    outgoing.complete(error, answer, goesOn)
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
    const error = errorOfWire(number, '')
    // A request has its answer, or will have it. What has no answer ends here.
    if ((outgoing.flags & awaitsAnswer) !== 0) outgoing.cancelBody(error)
    else outgoing.complete(error, undefined)
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
    this.standstill.drained()
    if (this.writer !== undefined) this.flushNow()
  }

  /** @internal */
  get hasRoom(): boolean {
    return !this.isBlocked && this.securing === 'no' && !this.isEnding && this.transport.isWritable
  }

  /** @internal */
  write(bytes: Uint8Array): void {
    this.keepAlive.lastSentMs = this.owner.clock.nowMs()
    if (!this.transport.write(bytes)) this.blocked()
  }

  /** @internal */
  writeLent(bytes: Uint8Array, released: () => void): void {
    if (!this.transport.writeLent(bytes, released)) this.blocked()
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
    const error = failure ?? messageError('MESSAGE_CANCELED')
    if (outgoing.message !== undefined) this.requests.remove(outgoing)
    // An answer of which the peer has seen nothing, so that it has not been told that it is given up.
    else if (outgoing.packet < 0) this.answers.tellFailed(outgoing, error)
    outgoing.complete(error, undefined)
  }

  // ---- Ending

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

  /** @internal The transport is gone. */
  closed(error: SluiceError | undefined): void {
    const cause = this.finish(error)
    const lost = new SluiceError('MESSAGE_CONNECTION', { phase: 'message', cause })
    this.reader.end(lost)
    this.answers.end(lost)
    const { unsent, begun } = this.writer?.end() ?? { unsent: [], begun: [] }
    const awaiting = this.requests.drain()
    const isUnsent = new Set(unsent)
    const others = new Set([...begun, ...awaiting].filter((outgoing) => !isUnsent.has(outgoing)))
    this.owner.lost(this, unsent, [...others], lost, cause)
  }
}

function streamOf({ message }: Outgoing, flags: number): StreamCodec<unknown> | undefined {
  if ((flags & isFailureAnswer) !== 0 || message?.kind !== 'request') return undefined
  return message.answer instanceof StreamCodec ? message.answer : undefined
}
