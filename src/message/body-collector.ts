import type { SluiceError } from '../errors.js'
import { giveBack, lentMemory, ownMemory } from './body-memory.js'
import { messageError } from './failure.js'
import type { IncomingBody } from './message-reader.js'

/** What a {@link BodyCollector} asks and tells. */
export interface CollectorSink {
  /** The sender may send so many bytes more. */
  allow(bytes: number): void
  /** All of it, in memory of its own, or in `lent`, which is to be given back. */
  collected(body: Uint8Array, lent: Uint8Array | undefined): void
  /** It is larger than allowed, or not what its header said; nothing more is wanted. */
  collectingFailed(error: SluiceError): void
  /** The sender has given it up. */
  collectingAborted(error: SluiceError): void
}

const noBytes = new Uint8Array(0)
// What is set aside at once for a body that says its size. More comes when more has come: a header costs little to send.
const trustedBytes = 1 << 20
/** Collects a body that comes in pieces, up to a bound. */
export class BodyCollector implements IncomingBody {
  private bytes: Uint8Array
  private length = 0
  private allowed: number
  private failed = false

  /**
   * @param sizeBytes as the header says, or -1.
   * @param maxBytes bound on the whole body.
   * @param isLent its memory comes back, by `giveBack()` of body-memory.
   */
  constructor(
    private readonly sink: CollectorSink,
    private readonly sizeBytes: number,
    private readonly maxBytes: number,
    private readonly windowBytes: number,
    private readonly isLent: boolean,
  ) {
    this.allowed = windowBytes
    this.bytes = sizeBytes > maxBytes ? noBytes : this.memory(firstSize(sizeBytes))
  }

  /** Whether the header already says too much. */
  get isTooLarge(): boolean {
    return this.sizeBytes > this.maxBytes
  }

  chunk(bytes: Uint8Array, from: number, to: number): void {
    if (this.failed) return
    const length = this.length + to - from
    if (length > this.maxBytes || (this.sizeBytes >= 0 && length > this.sizeBytes)) {
      this.fail(length > this.maxBytes ? tooLarge(length, this.maxBytes) : wrongSize())
      return
    }
    if (length > this.bytes.length) this.grow(length)
    this.bytes.set(bytes.subarray(from, to), this.length)
    this.length = length
    // Half a window early, so that the sender does not have to wait for it.
    if (this.allowed - length > this.windowBytes / 2) return
    const bound = this.sizeBytes >= 0 ? this.sizeBytes : this.maxBytes
    if (this.allowed >= bound) return
    this.allowed += this.windowBytes
    this.sink.allow(this.windowBytes)
  }

  end(): void {
    if (this.failed) return
    if (this.sizeBytes >= 0 && this.length !== this.sizeBytes) this.fail(wrongSize())
    else this.sink.collected(this.bytes.subarray(0, this.length), this.isLent ? this.bytes : undefined)
  }

  abort(): void {
    this.drop()
    if (!this.failed) this.sink.collectingAborted(messageError('MESSAGE_CANCELED_BY_PEER'))
  }

  private fail(error: SluiceError): void {
    this.failed = true
    this.drop()
    this.sink.collectingFailed(error)
  }

  private grow(length: number): void {
    const most = this.sizeBytes >= 0 ? this.sizeBytes : this.maxBytes
    const grown = this.memory(Math.min(most, Math.max(length, this.bytes.length * 2)))
    grown.set(this.bytes.subarray(0, this.length))
    this.drop()
    this.bytes = grown
  }

  private memory(sizeBytes: number): Uint8Array {
    return this.isLent ? lentMemory(sizeBytes) : ownMemory(sizeBytes)
  }

  private drop(): void {
    if (this.isLent) giveBack(this.bytes)
    this.bytes = noBytes
  }
}

function firstSize(sizeBytes: number): number {
  return sizeBytes < 0 ? 65_536 : Math.min(sizeBytes, trustedBytes)
}

/** The error for a body above its bound. */
export function tooLarge(bytes: number, maxBytes: number) {
  return messageError('MESSAGE_TOO_LARGE', `${bytes} bytes, of ${maxBytes} at most`)
}

function wrongSize() {
  return messageError('MESSAGE_INVALID_COMMAND', 'a body is not as long as its header says')
}
