import type { FileSegment } from '../file/segment.js'

/** Read at once. Larger than a packet, so that the system is asked less often than packets are sent. */
const pieceBytes = 262_144

/** The bytes of a file, for the body of a message; when all of them have been read, or no more are wanted, it is closed. */
export class FilePieces implements AsyncIterator<Uint8Array> {
  private at = 0
  private isOver = false

  /** @throws {SluiceError} `ERR_SLUICE_CLOSED`. */
  constructor(private readonly segment: FileSegment) {
    segment.requireOpen()
    // Until the read that is under way has ended.
    segment.take()
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    const { segment, at } = this
    const length = Math.min(pieceBytes, segment.sizeBytes - at)
    if (this.isOver || length === 0) return this.return()
    segment.take()
    try {
      const value = await segment.read(at, length)
      this.at = at + length
      return { done: false, value }
    } catch (error) {
      await this.return()
      throw error
    } finally {
      segment.drop()
    }
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    if (!this.isOver) {
      this.isOver = true
      this.segment.drop()
      this.segment.close()
    }
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
