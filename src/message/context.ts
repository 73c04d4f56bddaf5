import type { SluiceError } from '../errors.js'
import type { LocalType } from './connection-owner.js'
import { idempotentFlag } from './header.js'
import type { MessageConnection } from './message-connection.js'
import type { MessageStream } from './message-stream.js'
import type { Message } from './protocol.js'

/** What a handler knows about the message besides its body. */
export class MessageContext {
  /** @internal The answer, or its failure, has been given. */ isDone = false
  /** @internal */ type: LocalType | undefined = undefined
  /** @internal */ stream: MessageStream<unknown> | undefined = undefined
  /** @internal Where its body lies, until the handler has finished. */ lent: Uint8Array | undefined = undefined
  /** @internal */ partsAllowed = 0
  /** @internal */ onCancel: ((error: SluiceError) => void) | undefined = undefined
  /** @internal */ onAllowParts: ((parts: number) => void) | undefined = undefined
  /** @internal */ onParts: (() => void) | undefined = undefined
  private controller: AbortController | undefined = undefined
  private canceledBy: SluiceError | undefined = undefined
  private readonly hasDeadline: number
  private readonly trace: Uint8Array | undefined

  /** @internal */
  constructor(
    /** Whom it came from: its `identity`, its `data`, and the way to send messages there. */
    readonly connection: MessageConnection,
    /** Its type. */
    readonly message: Message,
    /** @internal */ readonly flags: number,
    /** @internal */ readonly index: number,
    /** @internal */ readonly unique: number,
    deadlineMs: number,
    trace: Uint8Array | undefined,
  ) {
    this.hasDeadline = deadlineMs
    this.trace = trace
  }

  /** The sender may send it again if it hears nothing: this may be the second time. */
  get isIdempotent(): boolean {
    return (this.flags & idempotentFlag) !== 0
  }

  /** Aborts when the sender does not want the answer any more, or is gone. `reason` is a {@link SluiceError}. */
  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController()
      if (this.canceledBy !== undefined) this.controller.abort(this.canceledBy)
    }
    return this.controller.signal
  }

  /** Milliseconds that the sender gave it when it was sent; undefined without a time limit. */
  get timeoutMs(): number | undefined {
    return this.hasDeadline < 0 ? undefined : this.hasDeadline
  }

  /** What the sender gave as `traceparent`, in the form of W3C Trace Context. */
  get traceparent(): string | undefined {
    const { trace } = this
    if (trace === undefined) return undefined
    const hex = Buffer.from(trace).toString('hex')
    return `${hex.slice(0, 2)}-${hex.slice(2, 34)}-${hex.slice(34, 50)}-${hex.slice(50)}`
  }

  /** @internal */
  get isCanceled(): boolean {
    return this.canceledBy !== undefined
  }

  /** @internal */
  cancel(error: SluiceError): void {
    if (this.canceledBy !== undefined || this.isDone) return
    this.canceledBy = error
    this.controller?.abort(error)
    this.onParts?.()
    this.onCancel?.(error)
  }
}
