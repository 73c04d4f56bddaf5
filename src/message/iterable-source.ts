import { asSluiceError, type SluiceError } from '../errors.js'
import { FileSegment } from '../file/segment.js'
import { codecError } from './codec.js'
import { FilePieces } from './file-pieces.js'
import type { BodySource } from './outgoing.js'

/** Where bytes of a stream come from: Node streams, web streams, generators, lists of pieces, one piece, or a file, which is
 *  closed with the message. */
export type StreamSource = AsyncIterable<Uint8Array> | Iterable<Uint8Array> | Uint8Array | FileSegment

/** Reads an iterable, one piece ahead, when its message is given room. */
export class IterableSource implements BodySource {
  wake: () => void = () => {}
  failure: SluiceError | undefined
  private readonly iterator: AsyncIterator<Uint8Array> | Iterator<Uint8Array>
  private piece: Uint8Array | undefined
  private at = 0
  private isAsking = false
  private isOver = false

  /** `head` goes in front. @throws {TypeError} for what cannot be iterated. */
  constructor(source: StreamSource, head: Uint8Array | undefined) {
    const iterable =
      source instanceof Uint8Array ? [source] : source instanceof FileSegment ? new FilePieces(source) : source
    const { [Symbol.asyncIterator]: later, [Symbol.iterator]: now } = (iterable ?? {}) as Partial<
      AsyncIterable<Uint8Array> & Iterable<Uint8Array>
    >
    if (typeof later !== 'function' && typeof now !== 'function')
      throw new TypeError('a stream is sent from something that can be iterated, of Uint8Array')
    this.iterator = typeof later === 'function' ? later.call(iterable) : now!.call(iterable)
    this.piece = head
  }

  read(maxBytes: number): Uint8Array | undefined | null {
    const { piece, at } = this
    if (piece !== undefined && at < piece.length) {
      this.at = Math.min(piece.length, at + maxBytes)
      return piece.subarray(at, this.at)
    }
    if (this.isOver) return null
    if (!this.isAsking) this.ask()
    return undefined
  }

  get isAtEnd(): boolean {
    const { piece } = this
    return (this.isOver || this.failure !== undefined) && (piece === undefined || this.at >= piece.length)
  }

  private ask(): void {
    this.isAsking = true
    this.piece = undefined
    this.next().then(
      () => this.answered(),
      (error: unknown) => {
        this.failure ??= codecError(error, 'a stream')
        this.isOver = true
        this.answered()
      },
    )
  }

  private async next(): Promise<void> {
    for (;;) {
      const { done, value } = await this.iterator.next()
      if (done) {
        this.isOver = true
        return
      }
      if (!(value instanceof Uint8Array)) throw new TypeError('a stream is made of Uint8Array')
      if (value.length === 0) continue
      this.piece = value
      this.at = 0
      return
    }
  }

  private answered(): void {
    this.isAsking = false
    this.wake()
  }

  /** The rest is not wanted: the iterator is told. */
  cancel(error: SluiceError): void {
    if (this.isOver) return
    this.isOver = true
    this.failure ??= asSluiceError(error, 'MESSAGE_CANCELED')
    this.piece = undefined
    try {
      // It has nothing to say to anybody.
      Promise.resolve(this.iterator.return?.()).catch(() => {})
    } catch {}
  }
}
