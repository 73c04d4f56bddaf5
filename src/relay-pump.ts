import { endForRelay, heldForRelayBytes, isFiltered, roomForRelayBytes, writeForRelay } from './connection/relaying.js'
import { tellDrain } from './connection/writing.js'
import type { Connection } from './connection.js'
import { pausedByStream } from './native/records.js'

// Longer pieces are used where they are, and so must not be somebody's memory that is used again.
const copiedBytes = 16_384

/** One direction of a relay in JavaScript: what `from` receives is written to `to`, with back-pressure. */
export class RelayPump {
  /** Taken from the sender. */
  bytes = 0
  /** Native code has taken over. */
  isHandedOver = false
  private readonly pending: Uint8Array[] = []
  private hasEnded = false
  private isHeld = false

  constructor(
    readonly from: Connection,
    readonly to: Connection,
    private readonly highWaterBytes: number,
  ) {}

  /** Bytes that wait for the receiver. */
  get queuedBytes(): number {
    return this.pending.reduce((sum, { length }) => sum + length, heldForRelayBytes(this.to))
  }

  data(bytes: Uint8Array): void {
    this.bytes += bytes.length
    if (this.pending.length > 0) this.pending.push(bytes.slice())
    else this.give(bytes)
    this.settle()
  }

  end(): void {
    this.hasEnded = true
    this.settle()
  }

  /** The receiver has room again. */
  drained(): void {
    this.isHeld = false
    for (let piece = this.pending.shift(); piece !== undefined; piece = this.pending.shift()) {
      const before = this.pending.length
      this.give(piece, true)
      if (this.pending.length > before) break
    }
    this.settle()
    if (!this.isHeld) this.from.resumeFor(pausedByStream)
  }

  /** The sender is gone: what came from it is written whatever the receiver's limit says, as nothing follows. */
  finish(): void {
    for (const piece of this.pending.splice(0)) writeForRelay(this.to, piece)
  }

  // As much as fits below the hard limit; the rest waits.
  private give(bytes: Uint8Array, isOwn = false): void {
    const { to } = this
    let rest = bytes
    while (rest.length > 0) {
      const room = roomForRelayBytes(to)
      if (room <= 0) break
      const piece = rest.length > room ? rest.subarray(0, room) : rest
      rest = rest.subarray(piece.length)
      const mustCopy = !isOwn && piece.length > copiedBytes && (to.channel !== this.from.channel || isFiltered(to))
      writeForRelay(to, mustCopy ? piece.slice() : piece)
    }
    if (rest.length > 0) this.pending.unshift(isOwn ? rest : rest.slice())
  }

  private settle(): void {
    const { pending, to } = this
    if (pending.length === 0 && this.hasEnded) endForRelay(to)
    if (pending.length === 0 && heldForRelayBytes(to) < this.highWaterBytes) return
    if (this.isHeld) return
    this.isHeld = true
    this.from.pauseFor(pausedByStream)
    tellDrain(to)
  }
}
