import type { SluiceError } from '../errors.js'
import { messageError } from './failure.js'
import type { MessageConnection } from './message-connection.js'
import type { IncomingBody } from './message-reader.js'
import type { BodySource } from './outgoing.js'

/** A body on its way through a relay: comes in at one connection, and leaves by another, a window of it at most in between. */
export class RelayedBody implements IncomingBody, BodySource {
  wake: () => void = () => {}
  failure: SluiceError | undefined
  /** The sender has given it up, or is gone. */
  onAbort: (error: SluiceError) => void = () => {}
  private readonly pieces: Uint8Array[] = []
  private at = 0
  private isWhole = false
  private taken = 0

  constructor(
    private readonly from: MessageConnection,
    private readonly slot: number,
    private readonly round: number,
  ) {}

  // ---- Coming in

  chunk(bytes: Uint8Array, from: number, to: number): void {
    if (this.failure !== undefined) return
    this.pieces.push(Buffer.from(bytes.subarray(from, to)))
    this.wake()
  }

  end(): void {
    this.isWhole = true
    this.wake()
  }

  abort(error: SluiceError = messageError('MESSAGE_CANCELED_BY_PEER')): void {
    if (this.isWhole || this.failure !== undefined) return
    this.failure = error
    this.pieces.length = 0
    this.onAbort(error)
    this.wake()
  }

  // ---- Leaving

  get isAtEnd(): boolean {
    return this.failure !== undefined || (this.isWhole && this.pieces.length === 0)
  }

  read(maxBytes: number): Uint8Array | undefined | null {
    const piece = this.pieces[0]
    if (piece === undefined) return this.isWhole ? null : undefined
    const end = Math.min(piece.length, this.at + maxBytes)
    const part = piece.subarray(this.at, end)
    this.at = end
    if (end === piece.length) {
      this.pieces.shift()
      this.at = 0
      this.took(piece.length)
    }
    return part
  }

  // As the receiver takes it the sender may send more.
  private took(bytes: number): void {
    this.taken += bytes
    if (this.isWhole || this.taken < this.from.owner.hello.window / 2) return
    this.from.allow(this.slot, this.round, this.taken)
    this.taken = 0
  }

  cancel(error: SluiceError): void {
    if (this.failure !== undefined) return
    this.failure = error
    this.pieces.length = 0
    if (!this.isWhole) this.from.refuse(this.slot, this.round, error)
  }
}
