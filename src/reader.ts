import { takeOver } from './connection/reading.js'
import type { Connection } from './connection.js'
import type { SluiceError } from './errors.js'
import type { ConnectionHandlers } from './handlers.js'
import { pausedByQueue } from './native/records.js'

type Batch = IteratorResult<Buffer[], undefined>

// What a chunk counts at least: a peer that sends byte by byte must not hold a hundred times as much memory.
const leastChunkBytes = 128

const done: Batch = { done: true, value: undefined }

// Shared by all readers; a connection knows its own as `sink`.
const handlers: ConnectionHandlers<never> = {
  data: (connection, bytes) => readerOf(connection).take(bytes),
  end: (connection) => readerOf(connection).finish(undefined),
  close: (connection, error) => readerOf(connection).finish(error),
}

function readerOf(connection: Connection<never>): ConnectionReader {
  return connection.sink as ConnectionReader
}

/**
 * Reads a connection by `for await`: each step takes all that has come since the last one, as chunks that belong to
 * the reader, but waits until that is `readLowWaterBytes`. When as much as `readHighWaterBytes` waits to be taken, the
 * connection is paused, and so is the peer.
 */
export class ConnectionReader implements AsyncIterableIterator<Buffer[]> {
  private chunks: Buffer[] = []
  private sizeBytes = 0
  private weightBytes = 0
  private isAnswering = false
  private ended = false
  private error: SluiceError | undefined
  private readonly waiting: { resolve: (batch: Batch) => void; reject: (error: SluiceError) => void }[] = []

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_ARGUMENT` when something else reads the connection already. */
  constructor(private readonly connection: Connection) {
    takeOver(connection, this, handlers)
    if (connection.state === 'closed' || connection.hasPeerEnded) this.ended = true
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Several calls may wait at once; they are answered in turn. */
  next(): Promise<Batch> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject })
      this.answer()
    })
  }

  /** Left early: nobody will read the rest, so the connection goes. */
  return(): Promise<Batch> {
    this.drop(undefined)
    this.connection.destroy()
    return Promise.resolve(done)
  }

  /** @internal Ends it with `error`; what has not been taken by then is lost. */
  drop(error: SluiceError | undefined): void {
    this.chunks = []
    this.finish(error)
  }

  /** @internal Reading has failed, or writing has, which is the writer's affair. */
  directionFailed(error: SluiceError): void {
    if (error.phase === 'read') this.finish(error)
  }

  /** @internal */
  take(bytes: Uint8Array): void {
    if (this.ended) return
    this.chunks.push(Buffer.from(bytes))
    this.sizeBytes += bytes.length
    this.weightBytes += Math.max(bytes.length, leastChunkBytes)
    const { readHighWaterBytes, highWaterBytes } = this.connection.settings
    // Answered when all events of the turn are in, so that they come as one batch.
    if (this.waiting.length > 0 && this.isEnough) this.answerSoon()
    else if (this.weightBytes >= (readHighWaterBytes ?? highWaterBytes)) this.connection.pauseFor(pausedByQueue)
  }

  private answerSoon(): void {
    if (this.isAnswering) return
    this.isAnswering = true
    queueMicrotask(() => {
      this.isAnswering = false
      this.answer()
    })
  }

  // What weighs as much as the high mark is enough, however little it is: no more would come.
  private get isEnough(): boolean {
    if (this.chunks.length === 0) return false
    const { readLowWaterBytes, readHighWaterBytes, highWaterBytes } = this.connection.settings
    return this.sizeBytes >= readLowWaterBytes || this.weightBytes >= (readHighWaterBytes ?? highWaterBytes)
  }

  /** @internal The peer's end, or that of the connection; the first one counts. */
  finish(error: SluiceError | undefined): void {
    if (this.ended) return
    this.ended = true
    this.error = error
    this.answer()
  }

  private answer(): void {
    while (this.waiting.length > 0 && (this.isEnough || this.ended)) {
      const { resolve, reject } = this.waiting.shift()!
      const { error } = this
      if (this.chunks.length > 0) {
        resolve(this.give())
      } else if (error !== undefined) {
        this.error = undefined
        reject(error)
        if (!this.connection.settings.allowHalfOpen) this.connection.end()
      } else {
        resolve(done)
        if (!this.connection.settings.allowHalfOpen) this.connection.end()
      }
    }
  }

  private give(): Batch {
    const value = this.chunks
    this.chunks = []
    this.sizeBytes = this.weightBytes = 0
    this.connection.resumeFor(pausedByQueue)
    return { done: false, value }
  }
}
