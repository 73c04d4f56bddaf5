import type { SluiceError } from '../errors.js'
import { messageError } from './failure.js'
import { idempotentFlag, MessageHeader } from './header.js'
import type { Message } from './protocol.js'
import type { RelayedRequest } from './relay.js'
import type { TypeCounters } from './type-counters.js'

/**
 * Where a message is on its way out. It comes to an end once, and says so once (SF-29).
 *
 *   queued ─▶ writing ─▶ awaiting ─▶ done        awaiting: written, and the answer is due
 *     ▲  │       │  ▲       │  │
 *     │  └───────┼──┼───────┼──┴─▶ done          written; or failed, canceled, too late
 *     └──────────┘  └───────┘                    the connection was lost, and it is to be sent again
 */
export type OutgoingState = 'queued' | 'writing' | 'awaiting' | 'done'

const mayMove: Record<OutgoingState, readonly OutgoingState[]> = {
  queued: ['writing', 'done'],
  writing: ['awaiting', 'queued', 'done'],
  awaiting: ['queued', 'done'],
  done: [],
}

/** Bytes that come bit by bit. */
export interface BodySource {
  /** The next bytes, at most so many; undefined: none now, `wake` is called when there are; null: that was all. */
  read(maxBytes: number): Uint8Array | undefined | null
  /** Whether all has been read: that can be said without being allowed any more bytes. */
  readonly isAtEnd: boolean
  /** To be called when there is something to read again, or it has failed. */
  wake: () => void
  /** Why it cannot go on. */
  readonly failure: SluiceError | undefined
  /** The bytes are not wanted any more. */
  cancel(error: SluiceError): void
}

/** The body of a message as it is sent. */
export type OutgoingBody = Uint8Array | string | BodySource

/** Hears how a message came out, once. */
export interface Completion {
  /** `error` is undefined when it went well. */
  completed(outgoing: Outgoing, error: SluiceError | undefined, answer: unknown): void
}

/** Where messages are: the queue of a pool, or a connection. */
export interface OutgoingHolder {
  /** Forgets a message, and stops sending it. */
  drop(outgoing: Outgoing): void
  /** One that was dropped has completed. */
  dropped(): void
  /** The sender of a request takes more parts of its answer. */
  allowParts(outgoing: Outgoing, parts: number): void
}

/** Priorities of messages that wait. */
export const queueLevels = 3

/** A message on its way to a peer: a request, a message without answer, or an answer. */
export class Outgoing extends MessageHeader {
  state: OutgoingState = 'queued'
  /** Bytes of the body that have been packed. */
  sentBytes = 0
  /** Bytes that the receiver still takes. */
  creditBytes = 0
  /** Its place at the receiver, while it is being written; -1 before and after. */
  slot = -1
  /** The packet that its first byte is in, by number. */
  packet = -1
  /** Packets in a row that it has filled while others waited. */
  turn = 0
  /** Where it is. */
  holder: OutgoingHolder | undefined = undefined
  /** Counts its end. */
  onEnd: { ended(outgoing: Outgoing, error: SluiceError | undefined, ms: number): void } | undefined = undefined
  /** It is passed on for somebody else, who gets its answer as it is. */
  relayed: RelayedRequest | undefined = undefined
  /** Takes the parts of an answer. */
  part: ((value: unknown) => void) | undefined = undefined
  /** Counts messages of its type; undefined for answers, and for what is passed on. */
  counters: TypeCounters | undefined = undefined
  /** When it was sent, if that is measured; -1 otherwise. */
  sinceMs = -1
  /** Its place in the order that messages were sent in. */
  sequence = 0
  /** Links of the list that it waits in for its deadline. */
  later: Outgoing | undefined = undefined
  earlier: Outgoing | undefined = undefined
  dueMs = 0
  /** What it is due in, or undefined. */
  deadlines: { remove(outgoing: Outgoing): void } | undefined = undefined
  /** Whether its body can be sent once only, also when nothing is left of it. */
  readonly isStream: boolean
  /** Stops listening to its signal. */
  unwatch: (() => void) | undefined = undefined

  constructor(
    /** Undefined for answers. */
    readonly message: Message | undefined,
    public body: OutgoingBody,
    /** 0 for the first of {@link queueLevels}. */
    readonly level: number,
    readonly oneShot: boolean,
    private completion: Completion | undefined,
  ) {
    super()
    this.isStream = typeof body === 'object' && !(body instanceof Uint8Array)
  }

  moveTo(state: OutgoingState): void {
    if (!mayMove[this.state].includes(state)) throw new Error(`a message cannot go from ${this.state} to ${state}`)
    this.state = state
  }

  /** Back to the beginning, to be sent over another connection. */
  rewind(): void {
    if (this.state !== 'queued') this.moveTo('queued')
    this.sentBytes = 0
    this.slot = -1
    this.packet = -1
    this.holder = undefined
  }

  /** The rest of a stream is not wanted. */
  cancelBody(error: SluiceError): void {
    const { body } = this
    if (typeof body === 'object' && !(body instanceof Uint8Array)) body.cancel(error)
  }

  /** Whether it may be sent again although the peer may have it. Source: SF-26, D13. */
  get isRepeatable(): boolean {
    return (this.flags & idempotentFlag) !== 0 && !this.isStream
  }

  /**
   * Ends it, and tells. What comes later than the first end has no effect. A stream that is answered before all of it has
   * been sent goes on being sent: `keepsBody`.
   */
  complete(error: SluiceError | undefined, answer: unknown, keepsBody = false): void {
    if (this.state === 'done') return
    this.state = 'done'
    this.unwatch?.()
    this.unwatch = undefined
    this.deadlines?.remove(this)
    const { completion } = this
    const ms = this.counters === undefined ? -1 : this.counters.end(this, error)
    if (keepsBody) {
      this.completion = undefined
      this.onEnd?.ended(this, error, ms)
      completion?.completed(this, error, answer)
      return
    }
    this.holder = undefined
    this.completion = undefined
    // What is left of a stream nobody wants, be it that the answer was there first.
    if (this.isStream) this.cancelBody(error ?? messageError('MESSAGE_CANCELED'))
    this.body = ''
    this.onEnd?.ended(this, error, ms)
    completion?.completed(this, error, answer)
  }
}
