import type { SluiceError } from '../errors.js'
import type { CollectorSink } from './body-collector.js'
import type { MessageContext } from './context.js'
import { messageError } from './failure.js'
import { synchronousFlag } from './header.js'
import type { MessageConnection } from './message-connection.js'
import type { MessageStream, StreamSink } from './message-stream.js'
import type { Outgoing } from './outgoing.js'

/** A message that comes in pieces: a request of the peer, or the answer to one of ours. */
export class IncomingMessage implements CollectorSink, StreamSink {
  constructor(
    private readonly connection: MessageConnection,
    private readonly slot: number,
    private readonly round: number,
    private readonly flags: number,
    /** Of the peer's request; undefined for an answer. */
    private readonly context: MessageContext | undefined,
    /** Our request that is answered; undefined otherwise. */
    private readonly pending: Outgoing | undefined,
    /** Of a synchronous message that comes in pieces. */
    private readonly epoch = 0,
  ) {}

  allow(bytes: number): void {
    this.connection.allow(this.slot, this.round, bytes)
  }

  collected(body: Uint8Array, lent: Uint8Array | undefined): void {
    const { connection, context, pending } = this
    connection.collected()
    if (context !== undefined) {
      context.lent = lent
      // Later ones may have come over another connection since it began.
      if ((this.flags & synchronousFlag) !== 0 && !connection.owner.mayHandle(connection.hello!.pool, this.epoch)) {
        connection.answers.failed(context, messageError('MESSAGE_CONNECTION'))
        return
      }
      context.type!.receivedBytes += body.length
      connection.answers.deliver(context, body, true)
    } else if (this.isAwaited(pending!)) connection.answered(pending!, this.flags, body, true)
  }

  collectingFailed(error: SluiceError): void {
    const { connection, context, pending } = this
    connection.collected()
    connection.refuse(this.slot, this.round, error)
    if (context !== undefined) {
      connection.answers.failed(context, error)
      connection.endStranger(error)
    } else if (this.isAwaited(pending!)) {
      connection.settled(pending!, error, undefined)
    }
  }

  collectingAborted(error: SluiceError): void {
    const { connection, context, pending } = this
    connection.collected()
    if (context !== undefined) connection.answers.abandoned(context)
    else if (!connection.isOver && this.isAwaited(pending!)) connection.settled(pending!, error, undefined)
  }

  // ---- As a stream

  begun(stream: MessageStream<unknown>): void {
    const { connection, context, pending } = this
    if (context !== undefined) connection.answers.deliverStream(context, stream)
    else if (this.isAwaited(pending!)) connection.settled(pending!, undefined, stream)
    else stream.cancel()
  }

  failedToBegin(error: SluiceError): void {
    const { connection, context, pending } = this
    if (context !== undefined) connection.answers.failed(context, error)
    else if (!connection.isOver && this.isAwaited(pending!)) connection.settled(pending!, error, undefined)
  }

  refuse(error: SluiceError): void {
    this.connection.refuse(this.slot, this.round, error)
  }

  tooLarge(error: SluiceError): void {
    this.context?.cancel(error)
    this.connection.endStranger(error)
  }

  aborted(): void {
    if (this.context !== undefined) this.connection.answers.abandoned(this.context)
  }

  over(bytes: number): void {
    if (this.context !== undefined) this.context.type!.receivedBytes += bytes
    this.connection.collected()
  }

  // It may have been canceled since.
  private isAwaited(pending: Outgoing): boolean {
    return (
      this.connection.requests.find(pending.index, pending.unique) === pending && pending.holder === this.connection
    )
  }
}
