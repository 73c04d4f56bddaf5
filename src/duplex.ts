import { Duplex } from 'node:stream'
import type { Connection } from './connection.js'
import { SluiceError } from './errors.js'
import type { ConnectionHandlers } from './handlers.js'
import { pausedByStream } from './native/records.js'

const readAheadBytes = 65_536
// Chunks up to this size are cut from a common piece, which saves an allocation each.
const pooledBytes = 4096
const poolBytes = 65_536
// Up to here write() copies; longer chunks are used in place, so their callbacks wait until they have been sent.
const copiedBytes = 16_384

// Shared by all streams; a connection knows its own as `sink`.
const handlers: ConnectionHandlers<never> = {
  data: (connection, bytes) => streamOf(connection).connectionData(bytes),
  drain: (connection) => streamOf(connection).connectionDrained(),
  end: (connection) => streamOf(connection).connectionEnded(),
  close: (connection, error) => streamOf(connection).connectionClosed(error),
}

function streamOf(connection: Connection<never>): ConnectionDuplex {
  return connection.sink as ConnectionDuplex
}

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
  return pool.subarray(start, start + length)
}

type Callback = (error?: Error | null) => void

/**
 * A connection as a Node stream that passes for a `net.Socket`: `pipeline`, `http` and protocol libraries take it.
 * Errors are {@link SluiceError}s. Writes of one turn leave together, corked or not.
 */
export class ConnectionDuplex extends Duplex {
  /** As on `net.Socket`; a stream exists only over an established connection. */
  readonly connecting = false
  /** As on `net.Socket`. */
  readonly pending = false
  /** As on `net.Socket`: the bound of `setTimeout()`, in milliseconds. */
  timeout = 0

  /** The connection beneath. */
  readonly connection: Connection
  // Whether `drain` is due because a write went past the high-water mark.
  private overfull = false
  private writeDone: Callback | undefined
  private destroyDone: ((error: Error | null) => void) | undefined
  private destroyError: Error | null = null
  private idleTimer: NodeJS.Timeout | undefined
  private pushed = false
  private ended = false
  private finWritten = false
  private over = false
  // Of stream.Writable; its getter `writableLength` is replaced below.
  declare readonly _writableState: { readonly length: number; readonly needDrain: boolean }

  static {
    Object.defineProperties(ConnectionDuplex.prototype, {
      // With what the connection has taken and the kernel has not.
      writableLength: {
        get(this: ConnectionDuplex) {
          return this._writableState.length + this.connection.queuedBytes
        },
      },
      writableNeedDrain: {
        get(this: ConnectionDuplex) {
          return this.overfull || (this.writable && this._writableState.needDrain)
        },
      },
    })
  }

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_ARGUMENT` when something else reads the connection already. */
  constructor(connection: Connection) {
    const { allowHalfOpen, highWaterBytes } = connection.settings
    super({
      allowHalfOpen,
      readableHighWaterMark: readAheadBytes,
      writableHighWaterMark: highWaterBytes,
      decodeStrings: true,
    })
    this.connection = connection
    connection.takeOver(this, handlers)
    if (connection.state === 'closed') this.connectionClosed(undefined)
  }

  // ---- Reading

  /** @internal */
  connectionData(bytes: Uint8Array): void {
    if (this.idleTimer !== undefined) this.idleTimer.refresh()
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
      encoding === undefined &&
      callback === undefined &&
      !this.overfull &&
      this.writable &&
      this._writableState.length === 0 &&
      this.writableCorked === 0 &&
      this.connection.isWritable &&
      this.connection.hasCapacityFor(chunk.length)
    ) {
      if (this.idleTimer !== undefined) this.idleTimer.refresh()
      if (this.connection.write(chunk)) return true
      this.overfull = true
      return false
    }
    return super.write(chunk, encoding as BufferEncoding, callback as Callback)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Callback): void {
    this.idleTimer?.refresh()
    this.send(chunk, callback)
  }

  override _writev(chunks: { chunk: Buffer }[], callback: Callback): void {
    this.idleTimer?.refresh()
    let i = 0
    const next = (error?: Error | null): void => {
      if (error || i === chunks.length) callback(error)
      else this.send(chunks[i++]!.chunk, next)
    }
    next()
  }

  // In pieces that the connection takes: a stream's own queue has no limit, the connection's has.
  private send(chunk: Buffer, callback: Callback): void {
    const { connection } = this
    const { highWaterBytes, lowWaterBytes } = connection.settings
    try {
      const piece = chunk.length > highWaterBytes ? chunk.subarray(0, highWaterBytes) : chunk
      if (connection.isWritable && !connection.hasCapacityFor(piece.length)) {
        this.whenDrained(() => this.send(chunk, callback), callback)
        return
      }
      // The queue may be drained, and the chunk still in it, only where the low-water mark is above zero.
      const hasRoom = connection.write(lowWaterBytes > 0 ? Buffer.from(piece) : piece)
      if (piece.length < chunk.length) this.whenDrained(() => this.send(chunk.subarray(piece.length), callback), callback)
      else if (hasRoom && piece.length <= copiedBytes) callback()
      else this.whenDrained(callback, callback)
    } catch (error) {
      callback(error as Error)
    }
  }

  private whenDrained(next: () => void, failed: Callback): void {
    this.writeDone = (error) => {
      if (error) failed(error)
      else next()
    }
    this.connection.tellDrain()
  }

  /** @internal */
  connectionDrained(): void {
    if (this.idleTimer !== undefined) this.idleTimer.refresh()
    const { writeDone } = this
    this.writeDone = undefined
    writeDone?.()
    if (!this.overfull) return
    this.overfull = false
    if (!this.destroyed && this._writableState.length === 0) this.emit('drain')
  }

  override _final(callback: Callback): void {
    this.connection.end()
    this.connection.whenFinished((error) => {
      this.finWritten = error === undefined
      callback(error)
    })
  }

  // ---- Ending

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    clearTimeout(this.idleTimer)
    this.idleTimer = undefined
    const { writeDone } = this
    this.writeDone = undefined
    writeDone?.(error ?? new SluiceError('CLOSED', { phase: 'write' }))
    if (this.over) {
      callback(error)
      return
    }
    this.destroyDone = callback
    this.destroyError = error
    this.connection.destroy(error instanceof SluiceError ? error : undefined)
  }

  /** @internal The connection is gone. */
  connectionClosed(error: SluiceError | undefined): void {
    this.over = true
    const { destroyDone } = this
    if (destroyDone !== undefined) {
      this.destroyDone = undefined
      destroyDone(this.destroyError)
    } else if (error !== undefined) {
      this.destroy(error)
    } else if (!this.ended || !this.finWritten) {
      // Cut short by others than the stream: what has been received may still be read.
      if (this.readableLength === 0) this.destroy()
      else this.once('end', () => this.destroy()).push(null)
    }
    // Else in good order: the stream destroys itself when it has been read to the end.
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
   * connection's own `readTimeoutMs` and `writeTimeoutMs` are separate bounds, and emit it too.
   */
  setTimeout(timeoutMs: number, callback?: () => void): this {
    clearTimeout(this.idleTimer)
    this.idleTimer = undefined
    this.timeout = timeoutMs
    if (timeoutMs > 0) {
      this.idleTimer = setTimeout(() => this.emit('timeout'), timeoutMs)
      this.idleTimer.unref()
    }
    if (callback === undefined) return this
    return timeoutMs > 0 ? this.once('timeout', callback) : this.off('timeout', callback)
  }

  /** As on `net.Socket`. */
  setNoDelay(noDelay = true): this {
    return this.change({ noDelay })
  }

  /** As on `net.Socket`; the delay is rounded up to whole seconds, 0 leaves it as it is. */
  setKeepAlive(keepAlive = false, initialDelayMs = 0): this {
    return this.change(initialDelayMs > 0 ? { keepAlive, keepAliveIdleMs: initialDelayMs } : { keepAlive })
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

  /** As on `net.Socket`. */
  get bytesRead(): number {
    return this.connection.stats().bytesRead
  }

  /** As on `net.Socket`: with what is still queued. */
  get bytesWritten(): number {
    const { bytesWritten, queuedBytes } = this.connection.stats()
    return bytesWritten + queuedBytes + this._writableState.length
  }

  /** As on `net.Socket`. */
  get readyState(): 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }
}
