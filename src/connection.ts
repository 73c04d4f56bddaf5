import type { Duplex } from 'node:stream'
import { ByteQueue } from './byte-queue/queue.js'
import type { Channel } from './channel.js'
import { writeLentBelow } from './connection/below.js'
import * as ending from './connection/ending.js'
import * as facts from './connection/facts.js'
import * as filtering from './connection/filtering.js'
import * as limits from './connection/limits.js'
import * as reading from './connection/reading.js'
import * as securing from './connection/securing.js'
import * as state from './connection/state.js'
import * as writing from './connection/writing.js'
import type { ConnectionState, ConnectionStats, RuleMarks, ShutdownOutcome, TcpInfo } from './connection-facts.js'
import { ConnectionDuplex } from './duplex.js'
import { nativeError, type SluiceError } from './errors.js'
import type { FileRange, FileSegment } from './file/segment.js'
import type { Filter, FilterOptions, FlushMode } from './filter/filter.js'
import type { ConnectionHandlers } from './handlers.js'
import type { ProxyHeader } from './handshake/proxy-header.js'
import { isFailure } from './native/binding.js'
import * as records from './native/records.js'
import { parse } from './options.js'
import type { ConnectionRates } from './rate-limit/connection-rates.js'
import type { RateLimit } from './rate-limit/rate-limit.js'
import type { RateLimitGroup } from './rate-limit/rate-limit-group.js'
import { ConnectionReader } from './reader.js'
import {
  type CloseOptions,
  type ConnectionSettings,
  type ConnectionTimeouts,
  type OperationBounds,
  priorityOption,
  type ReadWaterMarks,
  type WriteWaterMarks,
} from './settings.js'
import { encodeSocketOptions, type SocketOptions, socketOptionChanges } from './socket-options.js'
import type { TlsContext } from './tls/context.js'
import type { TlsInfo } from './tls/info.js'
import type { StartTlsOptions } from './tls/options.js'
import { connectionWebStreams } from './web-streams.js'

// Compared on every write: constants of this file are faster than those of another.
const { connecting, peerEnded, destroyed, closed, unreferenced } = state
const { filtered, layered, relayedNatively, notWritable, deaf } = state
const { pausedByUser, pausedWithoutReader, wantDrainFlag } = records

/**
 * A stream of bytes to a peer, over TCP or a Unix socket. Comes from {@link listen} or {@link connect}; is read by
 * handlers, by `for await`, as a Node stream or as web streams, by one of them at a time.
 */
export class Connection<Data = unknown> implements AsyncDisposable {
  /** Whatever belongs to this connection; sluice does not look at it. */
  declare data: Data
  /** @internal */ readonly channel: Channel
  /** @internal */ readonly slot: number
  /** @internal The slot's generation << 8. */ readonly tag: number
  /** @internal */ settings: ConnectionSettings
  /** @internal */ handlers: ConnectionHandlers<never>
  /** @internal What reads in place of handlers. */ sink: unknown
  /** @internal Bytes handed over, modulo 2^32; with Channel.taken it gives what is queued. */ posted: number
  /** @internal Not 0 while events must wait. */ hold: number
  /** @internal The bits of connection/state.ts. */ flags: number

  /** @internal */
  constructor(channel: Channel, slot: number, tag: number, settings: ConnectionSettings, isConnecting = false) {
    this.data = undefined as Data
    this.channel = channel
    this.slot = slot
    this.tag = tag
    this.settings = settings
    this.handlers = settings.handlers ?? state.noHandlers
    this.sink = undefined
    this.posted = 0
    this.hold = settings.handlers === undefined ? pausedWithoutReader : 0
    this.flags = (isConnecting ? connecting : 0) | (settings.layered === true ? layered : 0)
  }

  // ---- Writing

  /**
   * Takes all of `bytes` or nothing. Small ones are copied; large ones (over 16 KiB) are used where they are: neither
   * change nor transfer them before `drain`, or the next `drained()` (with `lowWaterBytes` above 0: before `queuedBytes`
   * is 0). Strings are sent as UTF-8. A queue is emptied: its large pieces are used where they are, and released when
   * they have been sent.
   *
   * @returns whether there is room below the high-water mark; if not, `drain` follows.
   * @throws {SluiceError} `ERR_SLUICE_QUEUE_FULL` past the hard limit; nothing is taken then.
   * @throws {SluiceError} `ERR_SLUICE_WRITE_AFTER_END` after `end()`, `ERR_SLUICE_CLOSED` after the connection's end.
   */
  write(bytes: Uint8Array | string | ByteQueue): boolean {
    if (!(bytes instanceof Uint8Array)) {
      if (bytes instanceof ByteQueue) return writing.writeQueue(this, bytes)
      bytes = writing.toBytes(bytes)
    }
    if ((this.flags & (notWritable | filtered)) !== 0) return writing.writeAbove(this, bytes)
    return this.writeBelow(bytes)
  }

  /** @internal To the socket, whatever filters there are. */
  writeBelow(bytes: Uint8Array): boolean {
    const length = bytes.length
    const settings = this.settings
    const queued = ((this.posted - this.channel.taken[this.slot]!) | 0) + length
    if (queued > settings.hardLimitBytes) state.refuseOverflow(this, queued)
    if (length === 0) return queued < settings.highWaterBytes
    this.posted = (this.posted + length) | 0
    const hasRoom = queued < settings.highWaterBytes
    this.channel.stageBytes(this.slot, hasRoom ? this.tag : this.tag | wantDrainFlag, bytes, length)
    return hasRoom
  }

  /**
   * Sends a part of a file (by default all of the segment), after what was written before and before what is written
   * after. Where neither filters nor TLS have to see the bytes, and the engine knows how, the system sends them by
   * itself; else they are read piece by piece. They count for `queuedBytes` and `drain`, but not for `hardLimitBytes`,
   * as they are not in memory.
   *
   * @returns whether there is room below the high-water mark; if not, `drain` follows.
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for what is not in the segment, `ERR_SLUICE_CLOSED` for a closed
   *   segment, and as `write()`. A file that fails later, or has become too short, ends the own direction with
   *   `ERR_SLUICE_FILE_FAILED`.
   */
  writeFile(segment: FileSegment, range: FileRange = {}): boolean {
    return filtering.writeFile(this, segment, range)
  }

  /** @internal The same of a segment that somebody holds open. */
  writeFilePart(segment: FileSegment, fromBytes: number, lengthBytes: number): boolean {
    return filtering.writeFilePart(this, segment, fromBytes, lengthBytes)
  }

  /**
   * @internal The same for bytes that are used where they are, whatever their size. `released` is called once, when they
   * are not needed any more, also if the connection ends before; it must not throw. Not called when this throws.
   */
  writeLent(bytes: Uint8Array, released: () => void): boolean {
    if ((this.flags & (notWritable | filtered)) !== 0) return writing.writeAbove(this, bytes, released)
    return writeLentBelow(this, bytes, released)
  }

  /** Bytes written that the kernel has not taken yet. What filters keep until they get more does not count. */
  get queuedBytes(): number {
    if ((this.flags & (closed | filtered | relayedNatively)) === 0)
      return (this.posted - this.channel.taken[this.slot]!) | 0
    if ((this.flags & (closed | relayedNatively)) === relayedNatively) return this.stats().queuedBytes
    return (this.flags & closed) !== 0 ? 0 : state.filtersOf(this)!.queuedBytes + this.queuedBelowBytes
  }

  /** @internal Without what is still in filters. */
  get queuedBelowBytes(): number {
    return (this.flags & closed) !== 0 ? 0 : (this.posted - this.channel.taken[this.slot]!) | 0
  }

  /**
   * Resolves when what is queued has fallen to the low-water mark, by default when the kernel has all of it. Rejects
   * when the connection ends before.
   */
  drained(): Promise<void> {
    return writing.drained(this)
  }

  /** Ends the own direction: FIN follows after everything written. Reading goes on. A second call does nothing. */
  end(bytes?: Uint8Array | string | ByteQueue): void {
    if (bytes !== undefined) this.write(bytes)
    writing.end(this)
  }

  /**
   * Brings on its way what has been written.
   *
   * - `'normal'`: what goes of itself; resolves at once.
   * - `'flush'` (the default): filters hold nothing back, and what has been written in this turn is handed to the system
   *   now; resolves when all of it has left the filters. When the system has taken it, `drained()` tells.
   * - `'finished'`: the same as `end()`; resolves as `finished()` does.
   *
   * Rejects when that is not possible any more. Source: LE-76, LE-51.
   */
  flush(mode: FlushMode = 'flush'): Promise<void> {
    return writing.flush(this, mode)
  }

  /** Resolves when everything written, and FIN, is in the kernel's hands. Call `end()` first or afterwards. */
  finished(): Promise<void> {
    return new Promise((resolve, reject) => {
      writing.whenFinished(this, (error) => (error === undefined ? resolve() : reject(error)))
    })
  }

  /** @internal */
  get isWritable(): boolean {
    return (this.flags & notWritable) === 0
  }

  /** @internal Whether the peer's end has been told. */
  get hasPeerEnded(): boolean {
    return (this.flags & peerEnded) !== 0
  }

  /** @internal Whether so many bytes fit below the hard limit. */
  hasCapacityFor(lengthBytes: number): boolean {
    return writing.heldBytes(this) + lengthBytes <= this.settings.hardLimitBytes
  }

  // ---- Reading

  /** Stops `data` and `end`; the peer is slowed down by the kernel. Further reasons of sluice's own are kept apart. */
  pause(): void {
    this.pauseFor(pausedByUser)
  }

  /** Undoes `pause()`. */
  resume(): void {
    this.resumeFor(pausedByUser)
  }

  /** Whether `pause()` is in force. */
  get paused(): boolean {
    return (this.hold & pausedByUser) !== 0
  }

  /**
   * What has been collected for the `readable` handler and not taken yet.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_ARGUMENT` without that handler: nothing is collected then.
   */
  get input(): ByteQueue {
    return reading.requireInput(this).queue
  }

  /**
   * Changes from how much on the `readable` handler is called, and at how much reading rests. Where as much as the new
   * low mark is there already, the handler is called soon.
   */
  setReadWaterMarks(marks: ReadWaterMarks): void {
    reading.setReadWaterMarks(this, marks)
  }

  /** @internal Whether what arrives goes to the handlers it began with. */
  get isReadByHandlers(): boolean {
    return this.sink === undefined && (this.hold & deaf) === 0 && (this.flags & closed) === 0
  }

  /** @internal */
  tellReadable(input: ByteQueue): void {
    state.upperOf(this).readable?.(this as never, input)
  }

  /** @internal */
  pauseFor(reason: number): void {
    reading.pauseFor(this, reason)
  }

  /** @internal */
  resumeFor(reason: number): void {
    reading.resumeFor(this, reason)
  }

  /**
   * Batches of chunks, each chunk owned by whoever reads it. Reading goes no further ahead than
   * `readHighWaterBytes`.
   * Leaving the loop early destroys the connection.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array[]> {
    return new ConnectionReader(this as Connection)
  }

  /** The connection as a Node stream that passes for a `net.Socket`, e.g. for `pipeline` and `http`. */
  toDuplex(): Duplex {
    return this.sink instanceof ConnectionDuplex ? this.sink : new ConnectionDuplex(this as Connection)
  }

  /** The connection as WHATWG streams: `readable` and `writable`, of Uint8Array. */
  toWeb(): { readable: ReadableStream<Uint8Array>; writable: WritableStream<Uint8Array> } {
    return connectionWebStreams(this as Connection)
  }

  // ---- Filters

  /**
   * Puts filters between the socket and whoever uses this connection, the first one nearest to the socket, all of them
   * above those that are there already. From now on what is written passes their outputs, from the top down, and what
   * has not been handed out yet passes their inputs. They end with the connection: `end()` and `close()` finish them.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for what is no filter; `ERR_SLUICE_WRITE_AFTER_END` or
   *   `ERR_SLUICE_CLOSED` when the connection has come to its end. Nothing has changed then.
   */
  filter(filters: Filter | readonly Filter[], options: FilterOptions = {}): this {
    filtering.addFilters(this, filters, options)
    return this
  }

  // ---- TLS

  /** What is known of TLS, once the handshake is done; undefined without TLS. Ask while the connection is open. */
  get tls(): TlsInfo | undefined {
    return securing.tlsOf(this)
  }

  /**
   * Goes on in TLS, over whatever the connection is now (STARTTLS). What was written before goes out before, in the clear;
   * resolves when the handshake is done. Plaintext that came in behind the peer's agreement ends the connection with
   * `ERR_SLUICE_PLAINTEXT_BEFORE_TLS`: read what was agreed on, and nothing more, before calling this.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` and `ERR_SLUICE_TLS_…` of options, with nothing done; those of the
   *   handshake, which end the connection.
   */
  startTls(options: StartTlsOptions | TlsContext): Promise<void> {
    return securing.startTls(this, options)
  }

  // ---- Ending

  /**
   * Finishes: sends everything written and FIN, reads and drops what the peer still sends until it ends too, so that
   * our last bytes survive; bounded by `timeoutMs`, after which it is destroyed. Resolves when it is gone.
   */
  close(options?: CloseOptions): Promise<void> {
    return ending.close(this, options)
  }

  /**
   * The same as `close()`, and tells how it went: `'clean'`, both directions have ended in order; `'truncated'`, the peer of
   * a TLS connection ended without saying goodbye; `'timeout'`, it did not end in time; `'reset'`, the connection failed.
   */
  shutdown(options?: CloseOptions): Promise<ShutdownOutcome> {
    return ending.shutdown(this, options)
  }

  /** Ends it now; unsent bytes are dropped. `error` is what `error` and `close` handlers get. */
  destroy(error?: SluiceError): void {
    ending.endNow(this, records.opDestroy, error)
  }

  /** Ends it now with RST, on purpose: the peer sees ECONNRESET. */
  reset(): void {
    ending.endNow(this, records.opReset, undefined)
  }

  /** @internal That ends the connection; where it has been ended already, what was thrown is told all the same. */
  handlerThrew(thrown: unknown): void {
    ending.handlerThrew(this, thrown)
  }

  /** @internal Calls back when it is gone, after its handlers; at once if it is already. */
  whenClosed(callback: (error?: SluiceError) => void): void {
    ending.whenClosed(this, callback)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // ---- Facts

  /** Where the connection is in its life. */
  get state(): ConnectionState {
    return facts.stateOf(this)
  }

  /** Our IP address; undefined on Unix sockets. */
  get localAddress(): string | undefined {
    return facts.inetEndOf(this, 'local')?.address
  }

  /** Our port; undefined on Unix sockets. */
  get localPort(): number | undefined {
    return facts.inetEndOf(this, 'local')?.port
  }

  /** `'IPv4'`, `'IPv6'`, or undefined on Unix sockets. */
  get localFamily(): 'IPv4' | 'IPv6' | undefined {
    return facts.inetEndOf(this, 'local')?.family
  }

  /** The peer's IP address; undefined on Unix sockets. */
  get remoteAddress(): string | undefined {
    return facts.inetEndOf(this, 'remote')?.address
  }

  /** The peer's port; undefined on Unix sockets. */
  get remotePort(): number | undefined {
    return facts.inetEndOf(this, 'remote')?.port
  }

  /** `'IPv4'`, `'IPv6'`, or undefined on Unix sockets. */
  get remoteFamily(): 'IPv4' | 'IPv6' | undefined {
    return facts.inetEndOf(this, 'remote')?.family
  }

  /**
   * What a PROXY or client-IP header said about the client, where a step of `handshake` has read one: its claimed addresses
   * and more. `remoteAddress` is that of whom we are really connected to. Source: HP-41.
   */
  get proxy(): ProxyHeader | undefined {
    return facts.proxyOf(this)
  }

  /** The tags and variables that rules have given it; undefined where they have left nothing. Source: HP-55. */
  get marks(): RuleMarks | undefined {
    return facts.marksOf(this)
  }

  /** Counters of this connection. */
  stats(): ConnectionStats {
    return this.channel.native.connectionStats(this.slot, this.tag)
  }

  /** What the kernel knows of the connection. @throws {SluiceError} `ERR_SLUICE_NOT_SUPPORTED` on Unix sockets. */
  tcpInfo(): TcpInfo {
    const info = this.channel.native.tcpInfo(this.slot, this.tag)
    if (isFailure(info)) throw nativeError(info)
    return info as unknown as TcpInfo
  }

  // ---- Settings

  /**
   * Whose events are handled first, −100 to 100: within what a turn brings, those of higher priority. May be changed at
   * any time, and counts from the next turn on. Default: as its listener or connect() had it, 0.
   */
  get priority(): number {
    return (this.flags & closed) !== 0 ? this.settings.priority : this.channel.priorityOf(this.slot)
  }

  set priority(priority: number) {
    priorityOption.parse(priority, 'priority')
    if ((this.flags & closed) === 0) this.channel.setPriority(this.slot, priority)
  }

  /**
   * Changes how much may be queued before `write()` asks for patience, when `drain` is reported, and what is refused. A
   * `drain` that is due by the new low mark comes soon. Source: LE-41. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
   */
  setWriteWaterMarks(marks: WriteWaterMarks): void {
    limits.setWriteWaterMarks(this, marks)
  }

  /** Replaces the bounds on single reads and writes; what is left out becomes 0, none. Source: LE-20. */
  setOperationBounds(bounds: OperationBounds): void {
    limits.setOperationBounds(this, bounds)
  }

  /** Replaces the bounds on idle and half-closed time; what is left out becomes 0, none. */
  setTimeouts(bounds: ConnectionTimeouts): void {
    limits.setTimeouts(this, bounds)
  }

  /**
   * Replaces the rate limit of its own, or lifts it: undefined. Levels go on, cut to a smaller burst; nothing is added for
   * a new limit. Source: LE-10, LE-11. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
   */
  setRateLimit(limit: RateLimit | undefined): void {
    limits.setRateLimit(this, limit)
  }

  /**
   * Moves it into a group, out of the one it was in, or out of all: undefined. A group that is short of bytes lets it
   * wait as the others. Source: LE-23. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_CLOSED`.
   */
  setRateLimitGroup(group: RateLimitGroup | undefined): void {
    limits.setRateLimitGroup(this, group)
  }

  /** How it stands with its rate limits. */
  get rates(): ConnectionRates {
    return limits.ratesOf(this)
  }

  /** Changes options of the socket. @throws {SluiceError} for what the system refuses. */
  setOptions(options: SocketOptions): void {
    const encoded = encodeSocketOptions(parse(socketOptionChanges, options), 'connection')
    const failure = this.channel.native.setOptions(this.slot, this.tag, { options: encoded })
    if (failure !== undefined) throw nativeError(failure)
  }

  /** Lets the event loop stay alive for this connection, as it does by default. */
  ref(): void {
    if ((this.flags & unreferenced) === 0) return
    this.flags &= ~unreferenced
    if ((this.flags & closed) === 0) this.channel.hold()
  }

  /** Lets the event loop end although this connection is open. */
  unref(): void {
    if ((this.flags & unreferenced) !== 0) return
    this.flags |= unreferenced
    if ((this.flags & closed) === 0) this.channel.drop()
  }

  /** @internal */
  get isDestroyed(): boolean {
    return (this.flags & destroyed) !== 0
  }

  /** @internal */
  get referenced(): boolean {
    return (this.flags & unreferenced) === 0
  }
}
