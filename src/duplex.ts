import { Duplex } from 'node:stream'
import { takeOver } from './connection/reading.js'
import { tellDrain, whenFinished } from './connection/writing.js'
import type { Connection } from './connection.js'
import { SluiceError } from './errors.js'
import type { ConnectionHandlers } from './handlers.js'
import { pausedByStream } from './native/records.js'

const readAheadBytes = 65_536
// Chunks up to this size are cut from a common piece, which saves an allocation each: a third of the time at 16 KiB,
// nothing at 64. Whoever keeps one keeps the piece.
const pooledBytes = 16_384
const poolBytes = 65_536
// Larger ones are copied in pieces, as node:net's are: malloc() maps fresh memory for more, which costs more than copying.
const chunkBytes = 65_536
// Up to here write() copies; longer chunks are used in place, so their callbacks wait until they have been sent.
const copiedBytes = 16_384
const maxTimerMs = 2_147_483_647

// Shared by all streams; a connection knows its own as `sink`.
const handlers: ConnectionHandlers<never> = {
  data: (connection, bytes) => {
    try {
      streamOf(connection).connectionData(bytes)
    } catch (thrown) {
      throwUncaught(thrown)
    }
  },
  drain: (connection) => guarded(() => streamOf(connection).connectionDrained()),
  end: (connection) => guarded(() => streamOf(connection).connectionEnded()),
  close: (connection, error) => guarded(() => streamOf(connection).connectionClosed(error)),
}

function guarded(work: () => void): void {
  try {
    work()
  } catch (thrown) {
    throwUncaught(thrown)
  }
}

// A listener that throws is no failure of the connection: as with net.Socket, and unlike with handlers, the process is
// told. An error on the stream would often end unseen, e.g. in `http`, which answers 400.
function throwUncaught(thrown: unknown): void {
  process.nextTick(() => {
    throw thrown
  })
}

function streamOf(connection: Connection<never>): ConnectionDuplex {
  return connection.sink as ConnectionDuplex
}

// The class that all Buffers are of: its constructor costs a third of subarray() and Buffer.from().
const FastBuffer = (Buffer as unknown as Record<symbol, unknown>)[Symbol.species] as new (
  memory: ArrayBufferLike,
  start: number,
  length: number,
) => Buffer

let pool = Buffer.allocUnsafeSlow(poolBytes)
let poolUsed = 0

function copyOf(bytes: Uint8Array): Buffer {
  const { length } = bytes
  if (length > pooledBytes) {
    const copy = Buffer.allocUnsafeSlow(length)
    copy.set(bytes)
    return copy
  }
  if (poolUsed + length > poolBytes) {
    pool = Buffer.allocUnsafeSlow(poolBytes)
    poolUsed = 0
  }
  const start = poolUsed
  poolUsed = (poolUsed + length + 7) & ~7
  pool.set(bytes, start)
  return new FastBuffer(pool.buffer, start, length)
}

type Callback = (error?: Error | null) => void

/**
 * A connection as a Node stream that passes for a `net.Socket`: `pipeline`, `http` and protocol libraries take it.
 * Errors are {@link SluiceError}s. Writes of one turn leave together, corked or not.
 */
export class ConnectionDuplex extends Duplex {
  /** As on `net.Socket`; a stream exists only over an established connection. */
  readonly connecting = false
  /** As on `net.Socket`: the bound of `setTimeout()`, in milliseconds. */
  timeout: number | undefined
  /** As on `net.Socket`: bytes handed to the stream. */
  bytesRead = 0
  /** The server it was given to; `http` sets it. */
  server: unknown = null

  /** The connection beneath. */
  readonly connection: Connection
  // Whether `drain` is due because a write went past the high-water mark without the stream's own queue knowing.
  private overfull = false
  // Bytes the connection has been given; of these, those that are part of what the stream still counts as its own.
  private givenBytes = 0
  private givenAheadBytes = 0
  private writeDone: Callback | undefined
  private destroyDone: (() => void) | undefined
  private idleTimer: NodeJS.Timeout | undefined
  private idleQueuedBytes = 0
  private pushed = false
  private ended = false
  private finWritten = false
  private over = false
  // Of stream.Writable; its getter `writableLength` is replaced below.
  declare readonly _writableState: { readonly length: number; needDrain: boolean }

  static {
    Object.defineProperties(ConnectionDuplex.prototype, {
      // With what the connection has taken and the kernel has not.
      writableLength: {
        get(this: ConnectionDuplex) {
          return this._writableState.length - this.givenAheadBytes + this.connection.queuedBytes
        },
      },
      writableNeedDrain: {
        get(this: ConnectionDuplex) {
          return this.writable && (this.overfull || this._writableState.needDrain)
        },
      },
    })
  }

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_ARGUMENT` when something else reads the connection already. */
  constructor(connection: Connection) {
    const { allowHalfOpen, highWaterBytes, readHighWaterBytes = readAheadBytes } = connection.settings
    super({
      allowHalfOpen,
      readableHighWaterMark: readHighWaterBytes,
      writableHighWaterMark: highWaterBytes,
      decodeStrings: true,
      // `close` says whether there was an error, which streams do not and net.Socket does.
      emitClose: false,
    })
    this.connection = connection
    takeOver(connection, this, handlers)
    if (connection.state === 'closed') this.connectionClosed(undefined)
    else if (connection.hasPeerEnded) this.connectionEnded()
  }

  // ---- Reading

  /** @internal */
  connectionData(bytes: Uint8Array): void {
    if (this.idleTimer !== undefined) this.idleTimer.refresh()
    this.bytesRead += bytes.length
    const { length } = bytes
    if (length <= chunkBytes) {
      this.deliver(bytes)
      return
    }
    for (let offset = 0; offset < length; offset += chunkBytes)
      this.deliver(bytes.subarray(offset, offset + chunkBytes))
  }

  private deliver(bytes: Uint8Array): void {
    const chunk = copyOf(bytes)
    // What push() comes to when nothing waits, at a fraction of its cost; the first push marks the stream as read from.
    if (this.pushed && this.readableFlowing === true && this.readableLength === 0 && this.readableEncoding === null) {
      this.emit('data', chunk)
      return
    }
    this.pushed = true
    if (!this.push(chunk)) this.connection.pauseFor(pausedByStream)
  }

  /** @internal */
  connectionEnded(): void {
    this.ended = true
    this.push(null)
    // With nothing buffered nobody would notice.
    if (this.readableLength === 0) this.read(0)
  }

  override _read(): void {
    this.connection.resumeFor(pausedByStream)
  }

  // ---- Writing

  /** As of `stream.Writable`; what can go straight to the connection does. */
  override write(chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
    if (
      chunk instanceof Uint8Array &&
      encoding == null &&
      callback == null &&
      !this.overfull &&
      this.writable &&
      this._writableState.length === 0 &&
      this.writableCorked === 0 &&
      this.connection.isWritable &&
      this.connection.hasCapacityFor(chunk.length)
    ) {
      if (this.idleTimer !== undefined) this.idleTimer.refresh()
      this.givenBytes += chunk.length
      if (this.connection.write(chunk)) return true
      this.overfull = true
      return false
    }
    return super.write(chunk, encoding as BufferEncoding, callback as Callback) && !this.overfull
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Callback): void {
    this.idleTimer?.refresh()
    this.send(chunk, (error) => {
      this.givenAheadBytes = 0
      callback(error)
    })
  }

  override _writev(chunks: { chunk: Buffer }[], callback: Callback): void {
    this.idleTimer?.refresh()
    let i = 0
    const next = (error?: Error | null): void => {
      if (!error && i < chunks.length) {
        this.send(chunks[i++]!.chunk, next)
        return
      }
      this.givenAheadBytes = 0
      callback(error)
    }
    next()
  }

  // In pieces that the connection takes: a stream's own queue has no limit, the connection's has.
  private send(chunk: Buffer, callback: Callback): void {
    const { connection } = this
    const { highWaterBytes, lowWaterBytes, hardLimitBytes } = connection.settings
    // What fits when the queue has drained.
    const pieceBytes = Math.max(1, Math.min(highWaterBytes, hardLimitBytes - lowWaterBytes))
    const piece = chunk.length > pieceBytes ? chunk.subarray(0, pieceBytes) : chunk
    try {
      if (connection.isWritable && !connection.hasCapacityFor(piece.length)) {
        this.whenDrained(() => this.send(chunk, callback), callback)
        return
      }
      // The queue may be drained, and the chunk still in it, only where the low-water mark is above zero.
      const hasRoom = connection.write(lowWaterBytes > 0 ? Buffer.from(piece) : piece)
      this.givenBytes += piece.length
      this.givenAheadBytes += piece.length
      if (piece.length < chunk.length) {
        this.whenDrained(() => this.send(chunk.subarray(piece.length), callback), callback)
      } else if (hasRoom && piece.length <= copiedBytes) {
        callback()
      } else {
        this.whenDrained(callback, callback)
      }
    } catch (error) {
      callback(error as Error)
    }
  }

  private whenDrained(next: () => void, failed: Callback): void {
    this.writeDone = (error) => {
      if (error) failed(error)
      else next()
    }
    tellDrain(this.connection)
  }

  /** @internal */
  connectionDrained(): void {
    if (this.idleTimer !== undefined) this.idleTimer.refresh()
    const { overfull, writeDone } = this
    this.overfull = false
    this.writeDone = undefined
    // Where the stream has a queue of its own, it tells when that is empty too.
    const hasQueue = this._writableState.length > 0
    if (overfull && hasQueue) this._writableState.needDrain = true
    writeDone?.()
    if (overfull && !hasQueue && this.writable) this.emit('drain')
  }

  override _final(callback: Callback): void {
    this.connection.end()
    whenFinished(this.connection, (error) => {
      // Where the connection went first, its close is on the way, and destroys the stream with the true reason.
      if (error !== undefined) return
      this.finWritten = true
      callback()
    })
  }

  // ---- Ending

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    clearTimeout(this.idleTimer)
    this.idleTimer = undefined
    const { writeDone } = this
    this.writeDone = undefined
    writeDone?.(error ?? new SluiceError('CLOSED', { phase: 'write' }))
    this.destroyDone = () => {
      callback(error)
      process.nextTick(() => this.emit('close', error !== null))
    }
    if (this.over) this.destroyDone()
    else this.connection.destroy(error instanceof SluiceError ? error : undefined)
  }

  /** @internal A stream ends as a whole. */
  directionFailed(error: SluiceError): void {
    guarded(() => void this.destroy(error))
  }

  /** @internal The connection is gone. */
  connectionClosed(error: SluiceError | undefined): void {
    this.over = true
    if (this.destroyDone !== undefined) this.destroyDone()
    else if (error !== undefined) this.destroy(error)
    // In good order: the stream destroys itself when it has been read to the end.
    else if (this.ended && this.finWritten) return
    // Closed by others than the stream, with all that the peer had to say still to be read.
    else if (this.ended && !this.readableEnded) this.once('end', () => this.destroy())
    else this.destroy()
  }

  /** As on `net.Socket`: destroys after everything written is out. */
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', this.destroy)
  }

  /** As on `net.Socket`: ends with RST. */
  resetAndDestroy(): this {
    this.connection.reset()
    return this.destroy()
  }

  // ---- What else a net.Socket has

  /**
   * As on `net.Socket`: emits `timeout` after `timeoutMs` without a byte in either direction; 0 for never. The
   * connection's own `readTimeoutMs` and `writeTimeoutMs` are separate bounds, and end it with an error.
   */
  setTimeout(timeoutMs: number, callback?: () => void): this {
    if (this.destroyed) return this
    if (!(Number.isFinite(timeoutMs) && timeoutMs >= 0)) {
      throw new SluiceError('INVALID_ARGUMENT', { detail: 'setTimeout() takes milliseconds, 0 or more' })
    }
    clearTimeout(this.idleTimer)
    this.idleTimer = undefined
    this.timeout = timeoutMs
    if (timeoutMs > 0) {
      this.idleTimer = setTimeout(() => this.idle(), Math.min(timeoutMs, maxTimerMs))
      this.idleTimer.unref()
    }
    if (callback === undefined) return this
    return timeoutMs > 0 ? this.once('timeout', callback) : this.off('timeout', callback)
  }

  // What is queued may have moved without anybody being told.
  private idle(): void {
    const { queuedBytes } = this.connection
    const moves = queuedBytes > 0 && queuedBytes !== this.idleQueuedBytes
    this.idleQueuedBytes = queuedBytes
    if (moves) this.idleTimer?.refresh()
    else this.emit('timeout')
  }

  /** As on `net.Socket`. */
  setNoDelay(noDelay = true): this {
    return this.change({ noDelay: Boolean(noDelay) })
  }

  /** As on `net.Socket`; the delay is rounded up to whole seconds, 0 leaves it as it is. */
  setKeepAlive(keepAlive = false, initialDelayMs = 0): this {
    const wanted = Boolean(keepAlive)
    return this.change(
      initialDelayMs > 0 ? { keepAlive: wanted, keepAliveIdleMs: initialDelayMs } : { keepAlive: wanted },
    )
  }

  // As in net.Socket, what comes too late or is not there is no reason to fail.
  private change(options: Parameters<Connection['setOptions']>[0]): this {
    try {
      this.connection.setOptions(options)
    } catch (error) {
      if (!(error instanceof SluiceError) || error.code === 'ERR_SLUICE_INVALID_OPTION') throw error
    }
    return this
  }

  /** As on `net.Socket`. */
  ref(): this {
    this.connection.ref()
    return this
  }

  /** As on `net.Socket`. */
  unref(): this {
    this.connection.unref()
    return this
  }

  /** As on `net.Socket`; empty on Unix sockets and after the end. */
  address(): { address?: string; port?: number; family?: string } {
    const { localAddress: address, localPort: port, localFamily: family } = this
    return address === undefined ? {} : { address, port, family }
  }

  /** As on `net.Socket`. */
  get localAddress(): string | undefined {
    return this.connection.localAddress
  }

  /** As on `net.Socket`. */
  get localPort(): number | undefined {
    return this.connection.localPort
  }

  /** As on `net.Socket`. */
  get localFamily(): string | undefined {
    return this.connection.localFamily
  }

  /** As on `net.Socket`. */
  get remoteAddress(): string | undefined {
    return this.connection.remoteAddress
  }

  /** As on `net.Socket`. */
  get remotePort(): number | undefined {
    return this.connection.remotePort
  }

  /** As on `net.Socket`. */
  get remoteFamily(): string | undefined {
    return this.connection.remoteFamily
  }

  /** As on `net.Socket`: with what is still queued. */
  get bytesWritten(): number {
    return this.givenBytes - this.givenAheadBytes + this._writableState.length
  }

  /** As on `net.Socket`: true once it is gone. */
  get pending(): boolean {
    return this.destroyed
  }

  /** As on `net.Socket`. */
  get readyState(): 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }
}
