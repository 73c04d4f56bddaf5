import { abortError, type SluiceError } from '../errors.js'
import { expected } from '../options.js'
import { codecError } from './codec.js'
import { messageError } from './failure.js'
import { awaitsAnswer, idempotentFlag, synchronousFlag } from './header.js'
import { checkMessageOptions, levelOf, type MessageOptions, traceBytesOf } from './message-options.js'
import { type Completion, Outgoing, type OutgoingBody } from './outgoing.js'
import { PartQueue } from './part-queue.js'
import type { AnswerOf, BodyOf, Message, OneWayType, PartsType, RequestType } from './protocol.js'
import { encodeBody } from './stream-codec.js'
import type { TypeCounters } from './type-counters.js'

/** What a sender needs of its service. */
export interface SenderOwner {
  /** Default of `timeoutMs`; 0 for none. */
  readonly timeoutMs: number
  /** What counts messages of a type. Throws for one of a protocol that is none of the service's. */
  countersOf(message: Message): TypeCounters
  /** Counts its time. */
  limitTime(outgoing: Outgoing, timeoutMs: number): void
  /** Nobody waits for a message that has not arrived. */
  undelivered(message: Message, error: SluiceError): void
}

/** Settles the promise of a message. */
class PromiseCompletion implements Completion {
  constructor(
    private readonly resolve: (answer: unknown) => void,
    private readonly reject: (error: SluiceError) => void,
  ) {}

  completed(_outgoing: Outgoing, error: SluiceError | undefined, answer: unknown): void {
    if (error === undefined) this.resolve(answer)
    else this.reject(error)
  }
}

/** What can be sent to: a pool, or one connection. Every message completes once. Source: SF-29. */
export abstract class MessageSender {
  /** @internal */ abstract readonly senderOwner: SenderOwner
  /** @internal Sends it, now or later. @throws {SluiceError} when it is not taken. */
  abstract submit(outgoing: Outgoing): void
  /** @internal Whether more can be sent without waiting. */
  abstract get hasCapacity(): boolean

  /**
   * Sends a request; resolves with its answer.
   *
   * Rejects with `ERR_SLUICE_MESSAGE_…` of what went wrong here or there; before anything is sent with
   * `ERR_SLUICE_INVALID_OPTION`, `…_MESSAGE_CODEC`, `…_MESSAGE_QUEUE_FULL`, `…_MESSAGE_POOL_CLOSED`.
   */
  request<T extends Message<RequestType>>(message: T, body: BodyOf<T>, options?: MessageOptions): Promise<AnswerOf<T>> {
    return new Promise((resolve, reject) => {
      requireKind(message, 'request', 'request')
      const completion = new PromiseCompletion(resolve as (answer: unknown) => void, reject)
      this.dispatch(message, body, awaitsAnswer, options, completion)
    })
  }

  /**
   * Sends a message without answer. Resolves when the system has all of it or, if it is `idempotent`, when its handler has
   * finished. Rejects as `request()` does.
   */
  send<T extends Message<OneWayType>>(message: T, body: BodyOf<T>, options?: MessageOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      requireKind(message, 'oneWay', 'send')
      const completion = new PromiseCompletion(resolve as (answer: unknown) => void, reject)
      this.dispatch(message, body, options?.idempotent ? awaitsAnswer : 0, options, completion)
    })
  }

  /**
   * The same, for those that nobody waits for: if one does not arrive, the service's `undelivered` is told.
   *
   * @returns whether there is room for more; if not, better wait for a `send()`.
   * @throws {SluiceError} when it is not taken, as `request()` rejects.
   */
  post<T extends Message<OneWayType>>(message: T, body: BodyOf<T>, options?: MessageOptions): boolean {
    requireKind(message, 'oneWay', 'post')
    this.dispatch(message, body, options?.idempotent ? awaitsAnswer : 0, options, this.unheard)
    return this.hasCapacity
  }

  /**
   * Sends a request that is answered in parts, and gives them back as they come; the peer makes no more of them than are
   * taken. Leaving the loop cancels it. Errors come out of the iteration.
   */
  parts<T extends Message<PartsType>>(
    message: T,
    body: BodyOf<T>,
    options?: MessageOptions,
  ): AsyncIterableIterator<AnswerOf<T>> {
    requireKind(message, 'parts', 'parts')
    const queue = new PartQueue<AnswerOf<T>>()
    const outgoing = this.dispatch(message, body, awaitsAnswer, options, queue, (part) =>
      queue.push(part as AnswerOf<T>),
    )
    queue.withdraw = (error) => withdraw(outgoing, error)
    queue.allow = (parts) => outgoing.holder?.allowParts(outgoing, parts)
    return queue
  }

  private readonly unheard: Completion = {
    completed: (outgoing, error) => {
      if (error !== undefined) this.senderOwner.undelivered(outgoing.message!, error)
    },
  }

  private dispatch(
    message: Message,
    value: unknown,
    flags: number,
    options: MessageOptions | undefined,
    completion: Completion,
    part?: (value: unknown) => void,
  ): Outgoing {
    const owner = this.senderOwner
    if (options !== undefined) checkMessageOptions(options)
    const counters = owner.countersOf(message)
    let body: OutgoingBody
    try {
      body = encodeBody(message.body, value)
    } catch (thrown) {
      throw codecError(thrown, `the body of ${message.name}`)
    }
    const outgoing = new Outgoing(message, body, levelOf(options), options?.oneShot === true, completion)
    outgoing.part = part
    outgoing.flags = flags
    const timeoutMs = options?.timeoutMs ?? owner.timeoutMs
    if (timeoutMs > 0) outgoing.deadlineMs = timeoutMs
    counters.begin(outgoing)
    try {
      if (options !== undefined) apply(outgoing, options)
      this.submit(outgoing)
    } catch (error) {
      counters.refuse()
      if (outgoing.isStream) outgoing.cancelBody(error as SluiceError)
      throw error
    }
    if (outgoing.state === 'done') return outgoing
    if (timeoutMs > 0) owner.limitTime(outgoing, timeoutMs)
    const { signal } = options ?? {}
    if (signal !== undefined) watch(outgoing, signal)
    keepSmallBody(outgoing)
    return outgoing
  }
}

function requireKind(message: Message, kind: Message['kind'], call: string): void {
  if ((message as Message | undefined)?.kind === kind) return
  const allowed = kind === 'oneWay' ? 'a message of oneWay()' : `a message of ${kind}()`
  throw expected(`${allowed} for ${call}()`, message, 'message')
}

function apply(outgoing: Outgoing, options: MessageOptions): void {
  const { idempotent, synchronous, traceparent, relay, signal } = options
  if (idempotent) outgoing.flags |= idempotentFlag
  if (synchronous) outgoing.flags |= synchronousFlag
  if (relay !== undefined) {
    outgoing.group = relay.group
    outgoing.replica = relay.replica ?? 0
  }
  if (traceparent !== undefined) outgoing.trace = traceBytesOf(traceparent)
  if (signal?.aborted) throw canceled(signal)
}

// Small bodies are the caller's again as soon as the call returns, as with Connection.write().
function keepSmallBody(outgoing: Outgoing): void {
  const { body } = outgoing
  if (!(body instanceof Uint8Array) || body.length === 0 || body.length > 16_384) return
  const isPacked = outgoing.packet >= 0 && outgoing.slot < 0
  if (!isPacked || outgoing.isRepeatable) outgoing.body = Buffer.from(body)
}

function watch(outgoing: Outgoing, signal: AbortSignal): void {
  const abort = () => withdraw(outgoing, canceled(signal))
  signal.addEventListener('abort', abort, { once: true })
  outgoing.unwatch = () => signal.removeEventListener('abort', abort)
}

function canceled(signal: AbortSignal): SluiceError {
  return messageError('MESSAGE_CANCELED', undefined, { cause: abortError(signal).cause })
}

/** Takes a message back, wherever it is, and completes it with `error`. */
export function withdraw(outgoing: Outgoing, error: SluiceError): void {
  if (outgoing.state === 'done') return
  const { holder } = outgoing
  holder?.drop(outgoing)
  outgoing.complete(error, undefined)
  holder?.dropped()
}
