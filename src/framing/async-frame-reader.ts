import { ByteQueue } from '../byte-queue/queue.js'
import { type FrameLimits, FrameReader, invalid, type LineOptions } from './frame-reader.js'
import type { LengthPrefix } from './frame-writer.js'

/**
 * Reads numbers and frames from a connection, or from anything else that is iterated in batches of chunks: waits until
 * they are there, and reads no further ahead than the connection itself. Undefined is the end of the stream; an end
 * within a frame is `ERR_SLUICE_FRAME_INVALID`. Several reads may wait at once; they are answered in turn.
 */
export class AsyncFrameReader implements AsyncDisposable {
  private readonly queue = new ByteQueue()
  private readonly frames = new FrameReader(this.queue)
  private readonly chunks: AsyncIterator<Uint8Array[]>
  private turn: Promise<unknown> = Promise.resolve()
  private waiting = 0

  /** From now on nobody else can read `source`. */
  constructor(source: AsyncIterable<Uint8Array[]>) {
    this.chunks = source[Symbol.asyncIterator]()
  }

  /**
   * Whatever `parse` makes of what is there; it is asked again with more bytes when it answers with undefined, and what
   * it has read counts only when it does not.
   */
  frame<T>(parse: (reader: FrameReader) => T | undefined): Promise<T | undefined> {
    if (this.waiting === 0) {
      try {
        const result = this.frames.frame(parse)
        if (result !== undefined) return Promise.resolve(result)
      } catch (error) {
        return Promise.reject(error)
      }
    }
    this.waiting++
    const result = this.turn.then(() => this.waitFor(parse))
    const done = () => void this.waiting--
    this.turn = result.then(done, done)
    return result
  }

  /** 8 bits. */
  u8(): Promise<number | undefined> {
    return this.frame((reader) => reader.u8())
  }

  /** 16 bits, big-endian. */
  u16(): Promise<number | undefined> {
    return this.frame((reader) => reader.u16())
  }

  /** 16 bits, little-endian. */
  u16le(): Promise<number | undefined> {
    return this.frame((reader) => reader.u16le())
  }

  /** 32 bits, big-endian. */
  u32(): Promise<number | undefined> {
    return this.frame((reader) => reader.u32())
  }

  /** 32 bits, little-endian. */
  u32le(): Promise<number | undefined> {
    return this.frame((reader) => reader.u32le())
  }

  /** 64 bits, big-endian. */
  u64(): Promise<bigint | undefined> {
    return this.frame((reader) => reader.u64())
  }

  /** 64 bits, little-endian. */
  u64le(): Promise<bigint | undefined> {
    return this.frame((reader) => reader.u64le())
  }

  /** Unsigned LEB128 of up to 64 bits. */
  varint(): Promise<bigint | undefined> {
    return this.frame((reader) => reader.varint())
  }

  /** So many bytes. */
  bytes(lengthBytes: number): Promise<Buffer | undefined> {
    return this.frame((reader) => reader.bytes(lengthBytes))
  }

  /** The content of a frame that begins with its length. */
  lengthPrefixed(prefix?: LengthPrefix, limits?: FrameLimits): Promise<Buffer | undefined> {
    return this.frame((reader) => reader.lengthPrefixed(prefix, limits))
  }

  /** The content of a netstring. */
  netstring(limits?: FrameLimits): Promise<Buffer | undefined> {
    return this.frame((reader) => reader.netstring(limits))
  }

  /** The next line as text, without its end. */
  line(options?: LineOptions): Promise<string | undefined> {
    return this.frame((reader) => reader.line(options))
  }

  /** Reads no more: a connection is destroyed, as it is by leaving a `for await` early. */
  async close(): Promise<void> {
    this.queue.clear()
    await this.chunks.return?.()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async waitFor<T>(parse: (reader: FrameReader) => T | undefined): Promise<T | undefined> {
    for (;;) {
      const result = this.frames.frame(parse)
      if (result !== undefined) return result
      const step = await this.chunks.next()
      if (step.done) {
        if (this.queue.sizeBytes > 0) throw invalid('the stream ended within a frame')
        return undefined
      }
      for (const chunk of step.value) this.queue.appendReference(chunk)
    }
  }
}
