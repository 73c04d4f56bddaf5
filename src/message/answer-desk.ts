import { SluiceError } from '../errors.js'
import { failureBody } from './answer.js'
import { giveBack } from './body-memory.js'
import { type Codec, codecError } from './codec.js'
import type { LocalType } from './connection-owner.js'
import { MessageContext } from './context.js'
import { MessageError, messageError, wireNumberOf } from './failure.js'
import { awaitsAnswer, isAnswer, isFailureAnswer, type MessageHeader, partOfAnswer, synchronousFlag } from './header.js'
import type { MessageConnection } from './message-connection.js'
import type { MessageStream } from './message-stream.js'
import { type Completion, Outgoing, type OutgoingBody } from './outgoing.js'
import { encodeBody } from './stream-codec.js'

/** Handlers of messages without answer that may run at once, per connection; then reading rests. */
const mostRunning = 1024
/** The same while an answer of the peer is due, which they may be waiting for. */
const mostRunningWhileAsking = 16 * mostRunning
/** Parts of an answer that may be under way before the asker says that it takes more. */
export const partsAhead = 64
const noBytes = new Uint8Array(0)
const normalLevel = 1

/** The requests of one connection that are being handled here, and their answers. */
export class AnswerDesk {
  /** By the peer's index. */
  private readonly contexts: (MessageContext | undefined)[] = []
  private count = 0
  /** Handlers at work, of requests and of messages without answer. */
  private running = 0
  private runningOneWay = 0
  /** The number of the error that {@link refuse} was last called with. */
  refusal = 0

  constructor(
    private readonly connection: MessageConnection,
    private readonly maxRequests: number,
  ) {}

  /** Requests that have no answer yet. */
  get size(): number {
    return this.count
  }

  /** Whether so much is being handled that nothing more should be read; `isAsking`: an answer of the peer is due. */
  isOverloaded(isAsking: boolean): boolean {
    // Requests have a bound of their own, but for those that were canceled and are handled all the same.
    if (this.running - this.runningOneWay > this.maxRequests + mostRunning) return true
    return this.runningOneWay >= (isAsking ? mostRunningWhileAsking : mostRunning)
  }

  private began({ flags }: MessageContext): void {
    this.running++
    if ((flags & awaitsAnswer) === 0) this.runningOneWay++
  }

  private stopped({ flags }: MessageContext): void {
    this.running--
    if ((flags & awaitsAnswer) === 0) this.runningOneWay--
  }

  /**
   * A message begins. Undefined: it is not to be handled, and its sender knows.
   *
   * @throws {SluiceError} `ERR_SLUICE_MESSAGE_UNKNOWN_TYPE`, `ERR_SLUICE_MESSAGE_INVALID_COMMAND` of what no sender does.
   */
  accept(header: MessageHeader): MessageContext | undefined {
    const { connection } = this
    const { owner, state } = connection
    const { flags, index, unique } = header
    const type = owner.types[header.type]
    if (type === undefined) throw messageError('MESSAGE_UNKNOWN_TYPE', `number ${header.type}`)
    const isAsked = (flags & awaitsAnswer) !== 0
    this.checkIndex(header)
    if (state === 'inactive' && !type.beforeActivation && !connection.isClient) {
      this.refuse(header, messageError('MESSAGE_NOT_ACTIVE'))
      return undefined
    }
    if (type.handler === undefined) {
      this.refuse(header, messageError('MESSAGE_NO_HANDLER', nameOf(type)))
      return undefined
    }
    if ((flags & synchronousFlag) !== 0 && !owner.mayHandle(connection.hello!.pool, header.epoch)) {
      this.refuse(header, messageError('MESSAGE_CONNECTION'))
      return undefined
    }
    type.received++
    const context = new MessageContext(connection, type.message, flags, index, unique, header.deadlineMs, header.trace)
    context.type = type
    if (isAsked) this.enter(context)
    return context
  }

  /** A request that is to be answered. */
  enter(context: MessageContext): void {
    this.contexts[context.index] = context
    this.count++
  }

  /** @throws {SluiceError} `ERR_SLUICE_MESSAGE_INVALID_COMMAND` for a number that no sender gives a request. */
  checkIndex({ flags, index }: MessageHeader): void {
    if ((flags & awaitsAnswer) === 0) return
    if (index >= this.maxRequests)
      throw messageError('MESSAGE_INVALID_COMMAND', `request ${index} of ${this.maxRequests}`)
    if (this.contexts[index] !== undefined)
      throw messageError('MESSAGE_INVALID_COMMAND', `request ${index} is not answered yet, and is made again`)
  }

  /** Passes on an answer, or a part of it, that somebody else has made. */
  forward(context: MessageContext, flags: number, body: OutgoingBody, sizeBytes = -1): void {
    if (!this.mayAnswer(context)) {
      if (typeof body === 'object' && !(body instanceof Uint8Array)) body.cancel(messageError('MESSAGE_CANCELED'))
      return
    }
    if ((flags & partOfAnswer) === 0) this.forget(context)
    const outgoing = new Outgoing(undefined, body, normalLevel, true, undefined)
    outgoing.flags = isAnswer | (flags & (partOfAnswer | isFailureAnswer))
    outgoing.index = context.index
    outgoing.unique = context.unique
    outgoing.sizeBytes = sizeBytes
    this.connection.take(outgoing)
  }

  /** Its body is there; unless it is `owned`, a view that is valid until this returns. */
  deliver(context: MessageContext, body: Uint8Array, owned: boolean): void {
    const { message } = context
    let value: unknown
    try {
      value = (message.body as Codec<unknown>).decode(body, owned)
    } catch (thrown) {
      this.failed(context, codecError(thrown, `the body of ${message.name}`))
      this.takeBack(context)
      return
    }
    this.handle(context, value)
  }

  /** Its body comes in as a stream. */
  deliverStream(context: MessageContext, stream: MessageStream<unknown>): void {
    context.stream = stream
    this.handle(context, stream)
  }

  private handle(context: MessageContext, value: unknown): void {
    const { message } = context
    let result: unknown
    try {
      result = context.type!.handler!(value, context)
    } catch (thrown) {
      this.threw(context, thrown)
      this.takeBack(context)
      return
    }
    if (message.kind === 'parts') void this.answerInParts(context, result)
    else if (typeof (result as Promise<unknown> | undefined)?.then === 'function') {
      this.began(context)
      ;(result as Promise<unknown>).then(
        (answer) => this.finished(context, answer),
        (thrown) => {
          this.stopped(context)
          this.threw(context, thrown)
          this.takeBack(context)
          this.connection.touch()
        },
      )
    } else {
      this.answer(context, result)
    }
  }

  // The handler has finished with a body that was lent to it, unless that is in what is answered.
  private takeBack(context: MessageContext, answer: OutgoingBody = ''): void {
    const { lent } = context
    if (lent === undefined || context.message.kind === 'parts') return
    context.lent = undefined
    if (typeof answer === 'string' || (answer instanceof Uint8Array && answer.buffer !== lent.buffer)) giveBack(lent)
  }

  private finished(context: MessageContext, answer: unknown): void {
    this.stopped(context)
    this.answer(context, answer)
    this.connection.touch()
  }

  private answer(context: MessageContext, value: unknown): void {
    // What the handler has not read it does not want, unless it answers while it reads.
    if (!(value instanceof Object && Symbol.asyncIterator in value)) context.stream?.cancel()
    if (!this.mayAnswer(context)) {
      this.takeBack(context)
      return
    }
    const { message } = context
    let body: OutgoingBody = noBytes
    if (message.kind === 'request') {
      try {
        body = encodeBody(message.answer, value)
      } catch (thrown) {
        this.threw(context, codecError(thrown, `the answer to ${message.name}`))
        this.takeBack(context)
        return
      }
    }
    this.takeBack(context, body)
    this.forget(context)
    this.put(context, 0, body)
  }

  // Whether somebody waits for an answer.
  private mayAnswer(context: MessageContext): boolean {
    if (context.isDone || (context.flags & awaitsAnswer) === 0) return false
    return !context.isCanceled
  }

  private put(context: MessageContext, flags: number, body: OutgoingBody, completion?: Completion): void {
    const { writer } = this.connection
    const small = typeof body === 'string' || body instanceof Uint8Array
    if (completion === undefined && small && writer!.putAnswer(flags, context.index, context.unique, body)) return
    const outgoing = new Outgoing(undefined, body, normalLevel, true, completion)
    outgoing.flags = isAnswer | flags
    outgoing.index = context.index
    outgoing.unique = context.unique
    this.connection.take(outgoing)
    if (outgoing.state === 'queued' && body instanceof Uint8Array && body.length <= 16_384)
      outgoing.body = Buffer.from(body)
  }

  // ---- Answers in parts

  private async answerInParts(context: MessageContext, result: unknown): Promise<void> {
    this.began(context)
    context.partsAllowed = partsAhead
    const codec = (context.message as { answer: Codec<unknown> }).answer
    try {
      for await (const part of result as AsyncIterable<unknown>) {
        if (!this.mayAnswer(context)) break
        const body = codec.encode(part)
        while (context.partsAllowed === 0 && !context.isCanceled) {
          await new Promise<void>((resolve) => {
            context.onParts = resolve
          })
        }
        if (!this.mayAnswer(context)) break
        context.partsAllowed--
        await this.putPart(context, body)
      }
      if (this.mayAnswer(context)) {
        this.forget(context)
        this.put(context, 0, noBytes)
      }
    } catch (thrown) {
      this.threw(context, thrown)
    }
    this.stopped(context)
    this.connection.touch()
  }

  // One after the other: the next one is begun when this one is on its way (SF-19).
  private putPart(context: MessageContext, body: OutgoingBody): Promise<void> {
    return new Promise((resolve) => {
      this.put(context, partOfAnswer, body, { completed: () => resolve() })
      this.connection.touch()
    })
  }

  /** The asker takes more parts. */
  allowParts(index: number, unique: number, parts: number): void {
    const context = this.contexts[index]
    if (context === undefined || context.unique !== unique) return
    context.partsAllowed += parts
    context.onAllowParts?.(parts)
    const wake = context.onParts
    context.onParts = undefined
    wake?.()
  }

  // ---- What goes wrong

  private threw(context: MessageContext, thrown: unknown): void {
    if (thrown instanceof MessageError) {
      this.failed(context, thrown)
      return
    }
    const isOurs = (thrown as { code?: string } | null)?.code === 'ERR_SLUICE_MESSAGE_CODEC'
    // That the sender has gone is no failure of who was reading its stream.
    const isItsEnd = context.isCanceled && thrown instanceof SluiceError && thrown.phase === 'message'
    if (!isItsEnd) this.connection.owner.handlerFailed(thrown, context)
    this.failed(context, isOurs ? (thrown as SluiceError) : messageError('MESSAGE_HANDLER_FAILED'))
  }

  /** Tells the sender that its request came to nothing. */
  failed(context: MessageContext, error: SluiceError | MessageError): void {
    const mayAnswer = this.mayAnswer(context)
    this.forget(context)
    context.stream?.cancel()
    if (mayAnswer) this.put(context, isFailureAnswer, failureBody(error))
  }

  /** The same where it has not been accepted. */
  refuse(header: MessageHeader, error: SluiceError): void {
    this.refusal = wireNumberOf(error)
    if ((header.flags & awaitsAnswer) === 0) return
    const { connection } = this
    const { flags, index, unique } = header
    const context = new MessageContext(connection, undefined as never, flags, index, unique, -1, undefined)
    this.put(context, isFailureAnswer, failureBody(error))
  }

  /** Tells that the answer comes to nothing, of which nothing has been sent. */
  tellFailed({ index, unique }: MessageHeader, error: SluiceError): void {
    const context = new MessageContext(this.connection, undefined as never, 0, index, unique, -1, undefined)
    this.put(context, isFailureAnswer, failureBody(error))
  }

  /** The sender has given the message up before it was whole. */
  abandoned(context: MessageContext): void {
    context.cancel(messageError('MESSAGE_CANCELED_BY_PEER'))
    this.forget(context)
  }

  /** The asker does not want the answer any more. Source: SF-34. */
  cancel(index: number, unique: number): void {
    const context = this.contexts[index]
    if (context === undefined || context.unique !== unique) return
    context.cancel(messageError('MESSAGE_CANCELED_BY_PEER'))
    this.forget(context)
  }

  /** The connection is gone. */
  end(error: SluiceError): void {
    for (const context of this.contexts.splice(0)) context?.cancel(error)
    this.count = 0
  }

  private forget(context: MessageContext): void {
    context.isDone = true
    if ((context.flags & awaitsAnswer) === 0 || this.contexts[context.index] !== context) return
    this.contexts[context.index] = undefined
    this.count--
  }
}

function nameOf({ message }: LocalType): string {
  return `${message.protocol.name} ${message.protocol.version}, ${message.name}`
}
