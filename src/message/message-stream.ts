import { Readable } from 'node:stream'
import type { SluiceError } from '../errors.js'
import { integer } from '../options.js'
import { tooLarge } from './body-collector.js'
import { type Codec, codecError } from './codec.js'
import { readCompact } from './compact.js'
import { messageError } from './failure.js'
import type { IncomingBody } from './message-reader.js'

/** What a stream asks and tells. */
export interface StreamSink {
  /** The sender may send so many bytes more. */
  allow(bytes: number): void
  /** What comes in front is there, so that the stream can be handed out. */
  begun(stream: MessageStream<unknown>): void
  /** It cannot be handed out. */
  failedToBegin(error: SluiceError): void
  /** The rest is not wanted. */
  refuse(error: SluiceError): void
  /** It was larger than allowed. May throw. */
  tooLarge(error: SluiceError): void
  /** The sender has given it up, or is gone. */
  aborted(): void
  /** Nothing more comes, for whatever reason; so many bytes have come. */
  over(bytes: number): void
}

interface Waiter {
  resolve(result: IteratorResult<Uint8Array, undefined>): void
  reject(error: SluiceError): void
}

const sizeLimit = integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const mostHeadBytes = 1 << 20

/**
 * The body of a message as it comes in: `for await` gives its pieces, each yours to keep. No more comes than is taken, but
 * for one window. To be read once; leaving the loop early tells the sender to stop.
 */
export class MessageStream<Head> implements AsyncIterableIterator<Uint8Array>, IncomingBody {
  private readonly pieces: Uint8Array[] = []
  private readonly waiting: Waiter[] = []
  private value: Head | undefined
  private isBegun = false
  private isOver = false
  private isCanceled = false
  private error: SluiceError | undefined
  /** Bytes in front of which the head is not complete. */
  private front: Buffer | undefined
  private takenBytes = 0
  private receivedBytes = 0

  /** @internal @param maxBytes bound on all of it; Infinity for none. */
  constructor(
    private readonly sink: StreamSink,
    private readonly codec: Codec<Head> | undefined,
    private readonly windowBytes: number,
    private readonly maxBytes: number,
  ) {}

  /** What was sent in front. */
  get head(): Head {
    return this.value as Head
  }

  /** @internal Hands it out if nothing has to come first. */
  start(): void {
    if (this.codec === undefined) this.begin()
  }

  private begin(): void {
    this.isBegun = true
    this.sink.begun(this)
  }

  // ---- Coming in

  /** @internal */
  chunk(bytes: Uint8Array, from: number, to: number): void {
    if (this.isOver) return
    this.receivedBytes += to - from
    if (this.receivedBytes > this.maxBytes) {
      const error = tooLarge(this.receivedBytes, this.maxBytes)
      this.stop(error)
      this.sink.tooLarge(error)
      return
    }
    const piece = Buffer.from(bytes.subarray(from, to))
    if (this.isBegun) this.push(piece)
    else this.readHead(piece)
  }

  private readHead(piece: Buffer): void {
    const all = this.front === undefined ? piece : Buffer.concat([this.front, piece])
    const cursor = { at: 0 }
    const length = readCompact(all, cursor, all.length)
    if (length === -2 || length > mostHeadBytes) {
      this.stop(messageError('MESSAGE_INVALID_COMMAND', 'what a stream has in front is too long'))
      return
    }
    if (length < 0 || cursor.at + length > all.length) {
      this.front = all
      // The window may be smaller than what comes in front.
      this.took(piece.length)
      return
    }
    this.front = undefined
    try {
      this.value = this.codec!.decode(all.subarray(cursor.at, cursor.at + length), true)
    } catch (thrown) {
      this.stop(codecError(thrown, 'what a stream has in front'))
      return
    }
    const rest = all.subarray(cursor.at + length)
    this.took(piece.length - rest.length)
    this.begin()
    if (rest.length > 0) this.push(rest)
  }

  private push(piece: Buffer): void {
    if (this.isOver) return
    const waiter = this.waiting.shift()
    if (waiter === undefined) {
      this.pieces.push(piece)
      return
    }
    this.took(piece.length)
    waiter.resolve({ done: false, value: piece })
  }

  /** @internal */
  end(): void {
    if (!this.isBegun && !this.isOver)
      this.stop(messageError('MESSAGE_INVALID_COMMAND', 'a stream ends before its head'))
    this.finish(undefined)
  }

  /** @internal */
  abort(error?: SluiceError): void {
    if (!this.isBegun && !this.isOver) this.sink.failedToBegin(error ?? messageError('MESSAGE_CANCELED_BY_PEER'))
    this.finish(error ?? messageError('MESSAGE_CANCELED_BY_PEER'))
    this.sink.aborted()
  }

  private stop(error: SluiceError): void {
    const wasBegun = this.isBegun
    this.sink.refuse(error)
    this.finish(error)
    if (!wasBegun) this.sink.failedToBegin(error)
  }

  private finish(error: SluiceError | undefined): void {
    if (this.isOver) return
    this.isOver = true
    this.error = error
    this.sink.over(this.receivedBytes)
    for (const waiter of this.waiting.splice(0)) {
      if (this.error === undefined) waiter.resolve({ done: true, value: undefined })
      else waiter.reject(this.error)
    }
  }

  // Half a window at a time, so that the sender does not have to wait for it.
  private took(bytes: number): void {
    this.takenBytes += bytes
    if (this.takenBytes < this.windowBytes / 2 || this.isOver) return
    this.sink.allow(this.takenBytes)
    this.takenBytes = 0
  }

  // ---- Reading

  /** The next piece. Rejects when the sender gave it up (`ERR_SLUICE_MESSAGE_CANCELED_BY_PEER`), or is gone
   *  (`…_MESSAGE_CONNECTION`), after everything that came before. */
  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const piece = this.pieces.shift()
    if (piece !== undefined) {
      this.took(piece.length)
      return Promise.resolve({ done: false, value: piece })
    }
    if (this.isCanceled) return Promise.resolve({ done: true, value: undefined })
    if (this.error !== undefined) return Promise.reject(this.error)
    if (this.isOver) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }))
  }

  /** The rest is not wanted: the sender is told to stop. */
  return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.cancel()
    return Promise.resolve({ done: true, value: undefined })
  }

  /** The same. Does nothing once all of it has come in. */
  cancel(): void {
    this.isCanceled = true
    this.pieces.length = 0
    if (this.isOver) return
    this.sink.refuse(messageError('MESSAGE_CANCELED'))
    this.finish(undefined)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** All of it, collected. @throws {SluiceError} `ERR_SLUICE_MESSAGE_TOO_LARGE` beyond `maxBytes`, default 16 777 216. */
  async bytes({ maxBytes = 16_777_216 }: { maxBytes?: number } = {}): Promise<Buffer> {
    sizeLimit.parse(maxBytes, 'maxBytes')
    const pieces: Uint8Array[] = []
    let length = 0
    for await (const piece of this) {
      length += piece.length
      if (length > maxBytes) throw tooLarge(length, maxBytes)
      pieces.push(piece)
    }
    return Buffer.concat(pieces, length)
  }

  /** As a Node stream. */
  toReadable(): Readable {
    return Readable.from(this, { objectMode: false })
  }
}
