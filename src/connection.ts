import { constants } from 'node:os'
import type { Duplex } from 'node:stream'
import { ByteQueue } from './byte-queue/queue.js'
import type { Channel } from './channel.js'
import type { ConnectionState, ConnectionStats, RuleMarks, ShutdownOutcome, TcpInfo } from './connection-facts.js'
import { ConnectionDuplex } from './duplex.js'
import { type ErrorFacts, type ErrorName, nativeError, SluiceError, tlsError } from './errors.js'
import { type FileRange, FileSegment } from './file/segment.js'
import { checkFilter, type Filter, type FilterOptions, type FlushMode } from './filter/filter.js'
import { FilterStack } from './filter/stack.js'
import type { ConnectionHandlers, TimeoutKind } from './handlers.js'
import { ProxyHeader } from './handshake/proxy-header.js'
import { type ConnectionInput, collecting, inputFor, inputOf } from './input.js'
import { isFailure, type NativeAddress } from './native/binding.js'
import * as records from './native/records.js'
import { expected, oneOf, parse } from './options.js'
import { ConnectionRates, type OwnRates } from './rate-limit/connection-rates.js'
import { KeyedRateLimitGroups } from './rate-limit/keyed-rate-limit-groups.js'
import { type RateLimit, rateLimitParser } from './rate-limit/rate-limit.js'
import { groupParser, type RateLimitGroup } from './rate-limit/rate-limit-group.js'
import { ConnectionReader } from './reader.js'
import type { RelayEnd } from './relay.js'
import {
  type CloseOptions,
  type ConnectionSettings,
  type ConnectionTimeouts,
  type ConnectionTls,
  checkSizes,
  closeOptions,
  connectionTimeouts,
  type OperationBounds,
  operationBounds,
  priorityOption,
  type ReadWaterMarks,
  readWaterMarks,
  type WriteWaterMarks,
  writeWaterMarks,
} from './settings.js'
import { encodeSocketOptions, type SocketOptions, socketOptionChanges } from './socket-options.js'
import type { TlsContext } from './tls/context.js'
import { TlsInfo } from './tls/info.js'
import type { StartTlsOptions } from './tls/options.js'
import { startTlsSetup } from './tls/setup.js'
import { connectionWebStreams } from './web-streams.js'

const { eventData, pausedByFilter, pausedByQueue, pausedByUser, pausedWithoutReader, wantDrainFlag } = records

// Bits of `flags`.
const connecting = 1
const peerEnded = 2
const endAsked = 4
const closeAsked = 8
const destroyed = 16
const closed = 32
const unreferenced = 64
const finWritten = 128
// The handlers are a FilterStack.
const filtered = 256
// Its error has been told before its end.
const failureTold = 512
// TLS, or a pair: what is written is not what the system is given.
const layered = 1024
// It belongs to a relay; and native code moves its bytes.
const relayed = 2048
const relayedNatively = 4096
const notWritable = endAsked | closeAsked | destroyed | closed | relayed

// Bits of `hold`: the reasons of a pause; that earlier events wait to be delivered first; that nobody wants data or its
// end any more.
const stashed = 0x100
const deaf = 0x200
// startTls() has been called, and what comes is still plaintext.
const securing = 0x400

/** An event that arrived while its connection was paused. */
export interface StashedEvent {
  type: number
  a: number
  b?: number
  bytes?: Uint8Array
}

/** What becomes of a connection that only few have; kept apart so that the others stay small. */
interface Extras {
  stash: StashedEvent[]
  drained: (() => void)[]
  finished: (() => void)[]
  closed: ((error?: SluiceError) => void)[]
  connected?: { claim: () => boolean; resolve: () => void; reject: (error: SluiceError) => void }
  secured?: { tls: ConnectionTls; resolve: () => void; reject: (error: SluiceError) => void }
  destroyError?: SluiceError
  target?: { address: string; port?: number }
  endpoints?: { local?: NativeAddress; remote?: NativeAddress }
  tls?: TlsInfo
  rates?: OwnRates
  proxy?: ProxyHeader
  marks?: RuleMarks
}

const extras = new WeakMap<object, Extras>()
const noHandlers: ConnectionHandlers<never> = {}
// Every reason that JavaScript may have; others are native code's.
const ownPauses = pausedByUser | records.pausedByStream | pausedByQueue | pausedWithoutReader | pausedByFilter
const flushModes = oneOf(['normal', 'flush', 'finished'])

/** Who reads in place of handlers. */
interface Sink {
  /** One direction has failed; the connection is still there. */
  directionFailed(error: SluiceError): void
}

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
  private flags: number

  /** @internal */
  constructor(channel: Channel, slot: number, tag: number, settings: ConnectionSettings, isConnecting = false) {
    this.data = undefined as Data
    this.channel = channel
    this.slot = slot
    this.tag = tag
    this.settings = settings
    this.handlers = settings.handlers ?? noHandlers
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
      if (bytes instanceof ByteQueue) return this.writeQueue(bytes)
      bytes = toBytes(bytes)
    }
    if ((this.flags & (notWritable | filtered)) !== 0) return this.writeAbove(bytes)
    return this.writeBelow(bytes)
  }

  private writeQueue(queue: ByteQueue): boolean {
    if ((this.flags & notWritable) !== 0) this.refuseWrite()
    const queued = (this.filters?.heldBytes ?? this.queuedBytes) + queue.memoryBytes
    if (queued > this.settings.hardLimitBytes) this.refuseOverflow(queued)
    // One call takes as much as there is room for below the high-water mark.
    while (queue.sizeBytes > 0) queue.writeTo(this as Connection)
    return this.queuedBytes < this.settings.highWaterBytes
  }

  /** @internal To the socket, whatever filters there are. */
  writeBelow(bytes: Uint8Array): boolean {
    const length = bytes.length
    const settings = this.settings
    const queued = ((this.posted - this.channel.taken[this.slot]!) | 0) + length
    if (queued > settings.hardLimitBytes) this.refuseOverflow(queued)
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
    if (!(segment instanceof FileSegment)) throw expected('a FileSegment', segment, 'segment')
    const { fromBytes, lengthBytes } = segment.partOf(range)
    segment.requireOpen()
    return this.writeFilePart(segment, fromBytes, lengthBytes)
  }

  /** @internal The same of a segment that somebody holds open. */
  writeFilePart(segment: FileSegment, fromBytes: number, lengthBytes: number): boolean {
    if ((this.flags & notWritable) !== 0) this.refuseWrite()
    return this.filterStack().writeFile(segment, fromBytes, lengthBytes)
  }

  /** @internal As of SendFile: a part of a file up to the high-water mark, by the system itself. */
  sendFileBelow(segment: FileSegment, positionBytes: number, lengthBytes: number): number | undefined {
    const { channel } = this
    if (!channel.sendsFiles || (this.flags & layered) !== 0) return undefined
    const room = this.settings.highWaterBytes - this.queuedBelowBytes
    if (room <= 0 || (this.flags & (destroyed | closed)) !== 0) return 0
    const length = Math.min(room, lengthBytes)
    this.posted = (this.posted + length) | 0
    segment.take()
    const tag = length < room ? this.tag : this.tag | wantDrainFlag
    channel.stageFile(this.slot, tag, segment.fd, positionBytes, length, () => segment.drop())
    return length
  }

  /** @internal The system could not send a part of a file, and has sent FIN in its place. */
  onFileFailed(errno: number): void {
    const facts = { phase: 'write', errno, syscall: 'sendfile' } as const
    const isShort = errno === constants.errno.ENODATA
    const detail = isShort ? 'the file has become too short' : undefined
    this.filters?.abortOutput(new SluiceError('FILE_FAILED', isShort ? { phase: 'write', detail } : facts))
  }

  /**
   * @internal The same for bytes that are used where they are, whatever their size. `released` is called once, when they
   * are not needed any more, also if the connection ends before; it must not throw. Not called when this throws.
   */
  writeLent(bytes: Uint8Array, released: () => void): boolean {
    if ((this.flags & (notWritable | filtered)) !== 0) return this.writeAbove(bytes, released)
    return this.writeLentBelow(bytes, released)
  }

  /** @internal */
  writeLentBelow(bytes: Uint8Array, released: () => void): boolean {
    const length = bytes.length
    const queued = this.queuedBelowBytes + length
    if (queued > this.settings.hardLimitBytes) this.refuseOverflow(queued)
    this.posted = (this.posted + length) | 0
    const hasRoom = queued < this.settings.highWaterBytes
    this.channel.stageLent(this.slot, hasRoom ? this.tag : this.tag | wantDrainFlag, bytes, length, released)
    return hasRoom
  }

  // Not straight to the socket.
  private writeAbove(bytes: Uint8Array, released?: () => void): boolean {
    if ((this.flags & notWritable) !== 0) this.refuseWrite()
    return this.filters!.write(bytes, released)
  }

  /** Bytes written that the kernel has not taken yet. What filters keep until they get more does not count. */
  get queuedBytes(): number {
    if ((this.flags & (closed | filtered | relayedNatively)) === 0)
      return (this.posted - this.channel.taken[this.slot]!) | 0
    if ((this.flags & (closed | relayedNatively)) === relayedNatively) return this.stats().queuedBytes
    return (this.flags & closed) !== 0 ? 0 : this.filters!.queuedBytes + this.queuedBelowBytes
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
    if (this.isRelayed) return Promise.reject(relayedError())
    if (this.queuedBytes === 0) return Promise.resolve()
    this.tellDrain()
    return this.whenDrained()
  }

  /** @internal Asks for a `drain` that no refused write has asked for. */
  tellDrain(): void {
    if ((this.flags & filtered) !== 0) this.filters!.tellDrain()
    else this.tellDrainBelow()
  }

  /** @internal */
  tellDrainBelow(): void {
    if ((this.flags & (destroyed | closed)) === 0) this.channel.stage(records.opTellDrain | this.tag, this.slot, 0, 0)
  }

  /** Ends the own direction: FIN follows after everything written. Reading goes on. A second call does nothing. */
  end(bytes?: Uint8Array | string | ByteQueue): void {
    if (bytes !== undefined) this.write(bytes)
    if (this.isRelayed) throw relayedError()
    if ((this.flags & notWritable) !== 0) return
    this.flags |= endAsked
    if ((this.flags & filtered) !== 0) this.filters!.finish()
    else this.endBelow()
  }

  /** @internal */
  endBelow(): void {
    if ((this.flags & (destroyed | closed)) === 0) this.channel.stage(records.opEnd | this.tag, this.slot, 0, 0)
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
    flushModes.parse(mode, 'mode')
    const flushed = this.flushAs(mode)
    // Many will not wait for it, and hear of the connection's end otherwise.
    flushed.catch(() => {})
    return flushed
  }

  private async flushAs(mode: FlushMode): Promise<void> {
    if (mode === 'finished') {
      this.end()
      return this.finished()
    }
    if ((this.flags & (destroyed | closed)) !== 0) throw this.closedError()
    if (this.isRelayed) throw relayedError()
    if (mode === 'normal') return
    if ((this.flags & filtered) !== 0) await this.filters!.flush()
    this.channel.flushOutsideTurn()
  }

  /** Resolves when everything written, and FIN, is in the kernel's hands. Call `end()` first or afterwards. */
  finished(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.whenFinished((error) => (error === undefined ? resolve() : reject(error)))
    })
  }

  /** @internal The same, called back within the turn. */
  whenFinished(callback: (error?: SluiceError) => void): void {
    const tell = () => callback((this.flags & finWritten) !== 0 ? undefined : this.closedError())
    if ((this.flags & (finWritten | destroyed | closed)) !== 0 || this.filters?.outputFailure !== undefined) tell()
    else this.extras.finished.push(tell)
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
    return (this.filters?.heldBytes ?? this.queuedBytes) + lengthBytes <= this.settings.hardLimitBytes
  }

  private refuseWrite(): never {
    const failure = this.filters?.outputFailure
    if (failure !== undefined) throw failure
    if (this.isRelayed) throw relayedError()
    const name = (this.flags & (destroyed | closed)) !== 0 ? 'CLOSED' : 'WRITE_AFTER_END'
    throw new SluiceError(name, { phase: 'write' })
  }

  /** @internal */
  refuseOverflow(queued: number): never {
    const { hardLimitBytes } = this.settings
    const detail = `${queued} bytes would be queued, the limit hardLimitBytes is ${hardLimitBytes}; nothing was taken`
    throw new SluiceError('QUEUE_FULL', { phase: 'write', detail })
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
    return this.requireInput().queue
  }

  /**
   * Changes from how much on the `readable` handler is called, and at how much reading rests. Where as much as the new
   * low mark is there already, the handler is called soon.
   */
  setReadWaterMarks(marks: ReadWaterMarks): void {
    const parsed = parse(readWaterMarks, marks)
    const input = this.requireInput()
    const { lowWaterBytes = input.waterMarks.lowWaterBytes, highWaterBytes = input.waterMarks.highWaterBytes } = parsed
    if (lowWaterBytes > highWaterBytes)
      throw expected(`at most "highWaterBytes", ${highWaterBytes}`, lowWaterBytes, 'lowWaterBytes')
    input.waterMarks = { lowWaterBytes, highWaterBytes }
  }

  private requireInput(): ConnectionInput {
    if (this.settings.handlers?.readable !== undefined) return inputFor(this as Connection)
    throw new SluiceError('INVALID_ARGUMENT', { detail: 'nothing is collected without a "readable" handler' })
  }

  /** @internal Whether what arrives goes to the handlers it began with. */
  get isReadByHandlers(): boolean {
    return this.sink === undefined && (this.hold & deaf) === 0 && (this.flags & closed) === 0
  }

  /** @internal */
  tellReadable(input: ByteQueue): void {
    this.upper.readable?.(this as never, input)
  }

  /** @internal */
  pauseFor(reason: number): void {
    if ((this.hold & (reason | deaf)) !== 0) return
    this.hold |= reason
    if ((this.flags & (destroyed | closed)) === 0) this.channel.stage(records.opPause | this.tag, this.slot, reason, 0)
  }

  /** @internal */
  resumeFor(reason: number): void {
    if ((this.hold & reason) === 0) return
    this.hold &= ~reason
    if ((this.flags & (destroyed | closed)) === 0) this.channel.stage(records.opResume | this.tag, this.slot, reason, 0)
    if (this.hold === stashed) queueMicrotask(() => this.unstash())
    if (reason !== pausedByFilter && (this.flags & filtered) !== 0) this.filters!.resumed()
    if (reason === pausedByUser && this.settings.handlers?.readable !== undefined) inputOf(this)?.resumed()
  }

  /** @internal Whether a `closed` has to wait for events that are still to be delivered; a failure does not. */
  outwaits(failed: boolean): boolean {
    return !failed && ((this.hold & stashed) !== 0 || this.filters?.isUnread === true)
  }

  /** @internal Keeps an event that came while paused, if anybody will want it. */
  stash(event: StashedEvent): void {
    if ((this.hold & deaf) !== 0) return
    this.hold |= stashed
    this.extras.stash.push(event)
  }

  // What has been collected for somebody who reads no more comes again, and after it the end if that was told already.
  private putBack(bytes: Buffer): void {
    const hadEnded = this.hasPeerEnded
    this.flags &= ~peerEnded
    if ((this.flags & filtered) !== 0) {
      this.filters!.putBack(bytes)
      return
    }
    this.hold |= stashed
    const { stash } = this.extras
    if (hadEnded) stash.unshift({ type: records.eventEnd, a: 0 })
    stash.unshift({ type: eventData, a: 0, bytes })
    queueMicrotask(() => this.unstash())
  }

  private unstash(): void {
    while ((this.hold & ~deaf) === stashed) {
      const event = this.extras.stash.shift()
      if (event === undefined) {
        this.hold &= ~stashed
        return
      }
      try {
        if (event.type === eventData) this.handlers.data?.(this as never, event.bytes!)
        else this.channel.deliver(this as Connection, event.type, event.a, event.b ?? 0)
      } catch (thrown) {
        this.handlerThrew(thrown)
      }
    }
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

  /** @internal Hands reading over to `sink`, whose `handlers` get every event from now on. */
  takeOver(sink: object, handlers: ConnectionHandlers<never>): void {
    if (this.isRelayed) throw relayedError()
    if (this.sink !== undefined) {
      throw new SluiceError('INVALID_ARGUMENT', {
        detail: 'the connection is being read by another stream or iterator',
      })
    }
    const unread = this.settings.handlers?.readable && inputOf(this)?.takeAll()
    this.sink = sink
    if ((this.flags & filtered) !== 0) this.filters!.upper = handlers
    else this.handlers = handlers
    if (unread !== undefined && unread.length > 0 && (this.flags & closed) === 0) this.putBack(unread)
    this.resumeFor(pausedWithoutReader | pausedByQueue)
  }

  /** @internal Whether somebody else may go on with it: it is open both ways, and nobody has taken it over for good. */
  get isReusable(): boolean {
    return this.state === 'open' && this.sink === undefined && (this.flags & filtered) === 0 && this.queuedBytes === 0
  }

  /** @internal From now on events go to `handlers`; without them, they wait for a stream, an iterator or others. */
  readBy(handlers: ConnectionHandlers<never> | undefined): void {
    if (this.sink !== undefined || (this.flags & closed) !== 0) return
    this.settings.handlers = handlers && collecting(handlers)
    const next = this.settings.handlers ?? noHandlers
    if ((this.flags & filtered) !== 0) this.filters!.upper = next
    else this.handlers = next
    this.resumeFor(pausedByUser)
    if (handlers === undefined) this.pauseFor(pausedWithoutReader)
    else this.resumeFor(pausedWithoutReader)
  }

  /** @internal Who is told of its end while nobody reads it. */
  watchBy(handlers: ConnectionHandlers<never>): void {
    if (this.sink !== undefined) return
    if ((this.flags & filtered) !== 0) this.filters!.upper = handlers
    else this.handlers = handlers
  }

  /** @internal Other handlers, those of `settings`, get every event from now on. */
  useSettings(settings: ConnectionSettings): void {
    this.settings = settings
    const handlers = settings.handlers ?? noHandlers
    if ((this.flags & filtered) !== 0) this.filters!.upper = handlers
    else this.handlers = handlers
  }

  /** @internal Hands out bytes that former handlers had got, to those that stand there now. */
  redeliver(bytes: Uint8Array): void {
    if ((this.flags & (destroyed | closed)) !== 0) return
    if (this.sink === undefined && this.hold === 0) this.upper.data?.(this as never, bytes)
    else this.putBack(Buffer.from(bytes))
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
    const list = Array.isArray(filters) ? (filters as readonly Filter[]) : [filters as Filter]
    list.forEach((filter, i) => {
      checkFilter(filter, Array.isArray(filters) ? `filters[${i}]` : 'filter')
    })
    const { head } = options
    if (head !== undefined && !(head instanceof Uint8Array)) throw expected('a Uint8Array', head, 'head')
    if ((this.flags & notWritable) !== 0) this.refuseWrite()
    if (this.filters?.isInFilter) {
      throw new SluiceError('INVALID_ARGUMENT', { detail: 'filters cannot be added while a filter is being called' })
    }
    const stack = this.filterStack()
    list.forEach((filter, i) => {
      stack.add(filter, i === 0 ? head : undefined)
    })
    return this
  }

  private filterStack(): FilterStack {
    let stack = this.filters
    if (stack === undefined) {
      stack = new FilterStack(this as Connection, this.handlers)
      this.handlers = stack
      this.flags |= filtered
    }
    return stack
  }

  /** @internal */
  private get filters(): FilterStack | undefined {
    return (this.flags & filtered) === 0 ? undefined : (this.handlers as unknown as FilterStack)
  }

  // Whom to tell what is no data: handlers, or what stands in their place.
  private get upper(): ConnectionHandlers<never> {
    return this.filters?.upper ?? this.handlers
  }

  /** @internal What arrives cannot be read any more; writing goes on. Source: D4. */
  inputFailed(error: SluiceError): void {
    this.extras.destroyError ??= error
    if ((this.flags & (destroyed | closed)) === 0) {
      this.channel.stage(records.opPause | this.tag, this.slot, pausedByFilter, 0)
    }
    this.dropStash()
    this.tellFailure(error)
    if (!this.settings.allowHalfOpen && this.sink === undefined) this.end()
  }

  /** @internal Nothing more can be written, and FIN is on its way; reading goes on. Source: D4. */
  outputFailed(error: SluiceError): void {
    this.flags |= endAsked
    this.extras.destroyError ??= error
    this.settle('drained')
    // Not within the user's write().
    queueMicrotask(() => {
      try {
        if ((this.flags & (destroyed | closed)) === 0) this.tellFailure(error)
      } catch (thrown) {
        this.handlerThrew(thrown)
      }
    })
  }

  private tellFailure(error: SluiceError): void {
    if (this.sink !== undefined) {
      ;(this.sink as Sink).directionFailed(error)
      return
    }
    const { upper } = this
    if (upper.error === undefined) return
    this.flags |= failureTold
    upper.error(this as never, error)
  }

  // ---- Relaying: for the relay that it belongs to

  private get isRelayed(): boolean {
    return (this.flags & (relayed | closed | destroyed)) === relayed
  }

  /** @internal @throws {SluiceError} unless it is open, and read by handlers. */
  requireRelayable(): void {
    if ((this.flags & notWritable) !== 0) this.refuseWrite()
    const isSecuring = (this.hold & securing) !== 0 || extras.get(this)?.secured !== undefined
    const detail =
      this.sink !== undefined
        ? 'the connection is being read by a stream or iterator'
        : isSecuring
          ? 'wait for startTls() before relay()'
          : undefined
    if (detail !== undefined) throw new SluiceError('INVALID_ARGUMENT', { detail })
    if ((this.flags & connecting) !== 0)
      throw new SluiceError('CLOSED', { phase: 'connect', detail: 'not connected yet' })
  }

  /** @internal */
  beginRelay(end: RelayEnd, handlers: ConnectionHandlers<never>): void {
    this.takeOver(end, handlers)
    this.flags |= relayed
    this.resumeFor(pausedByUser)
  }

  /** @internal What came before has been delivered; native code moves what comes now. */
  onRelaying(): void {
    this.flags |= relayedNatively
    this.resumeFor(records.pausedByStream)
    const { relay, side } = this.sink as RelayEnd
    relay.joined(side)
  }

  /** @internal */
  get isFiltered(): boolean {
    return (this.flags & filtered) !== 0
  }

  /** @internal Whether both directions have ended, and nobody destroyed it. */
  get hasEndedInOrder(): boolean {
    return (this.flags & (peerEnded | finWritten | destroyed)) === (peerEnded | finWritten)
  }

  /** @internal What has come and waits to be told is told at once. */
  deliverForRelay(): void {
    for (const reason of [pausedByUser, records.pausedByStream]) this.resumeFor(reason)
    if ((this.flags & filtered) !== 0) this.filters!.deliver()
    else this.unstash()
  }

  /** @internal Bytes given to it by JavaScript that have not left. */
  get heldForRelayBytes(): number {
    return (this.filters?.queuedBytes ?? 0) + this.queuedBelowBytes
  }

  /** @internal */
  get roomForRelayBytes(): number {
    return this.settings.hardLimitBytes - (this.filters?.heldBytes ?? this.queuedBelowBytes)
  }

  /** @internal As write(), past the hard limit too. */
  writeForRelay(bytes: Uint8Array): void {
    if ((this.flags & (endAsked | closeAsked | destroyed | closed)) !== 0 || bytes.length === 0) return
    if ((this.flags & filtered) !== 0) {
      this.filters!.write(bytes)
      return
    }
    this.posted = (this.posted + bytes.length) | 0
    this.channel.stageBytes(this.slot, this.tag, bytes, bytes.length)
  }

  /** @internal */
  endForRelay(): void {
    if ((this.flags & (endAsked | closeAsked | destroyed | closed)) !== 0) return
    this.flags |= endAsked
    if ((this.flags & filtered) !== 0) this.filters!.finish()
    else this.endBelow()
  }

  /** @internal Ends it with RST at once. */
  resetForRelay(cause: SluiceError): void {
    this.endNow(records.opReset, cause)
  }

  /** @internal Ends it with RST when the peer has everything that was written. */
  async breakOffForRelay(): Promise<void> {
    if ((this.flags & filtered) !== 0) await this.filters!.flush().catch(() => {})
    if ((this.flags & (closeAsked | destroyed | closed)) !== 0) return
    this.flags |= destroyed
    this.dropStash()
    this.channel.stage(records.opBreakOff | this.tag, this.slot, 0, 0)
  }

  // ---- TLS

  /** What is known of TLS, once the handshake is done; undefined without TLS. Ask while the connection is open. */
  get tls(): TlsInfo | undefined {
    const known = extras.get(this)?.tls
    if (known !== undefined) return known
    const { channel, slot, tag } = this
    const info = channel.native.tlsInfo(slot, tag)
    if (info === undefined) return undefined
    this.extras.tls = new TlsInfo(channel.native, slot, tag, info)
    return this.extras.tls
  }

  /**
   * Goes on in TLS, over whatever the connection is now (STARTTLS). What was written before goes out before, in the clear;
   * resolves when the handshake is done. Plaintext that came in behind the peer's agreement ends the connection with
   * `ERR_SLUICE_PLAINTEXT_BEFORE_TLS`: read what was agreed on, and nothing more, before calling this.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` and `ERR_SLUICE_TLS_…` of options, with nothing done; those of the
   *   handshake, which end the connection.
   */
  async startTls(options: StartTlsOptions | TlsContext): Promise<void> {
    const { peer } = this.settings
    const setup = startTlsSetup(options, peer ?? {}, peer === undefined ? 'server' : 'client')
    await this.secure(setup)
  }

  // ---- Ending

  /**
   * Finishes: sends everything written and FIN, reads and drops what the peer still sends until it ends too, so that
   * our last bytes survive; bounded by `timeoutMs`, after which it is destroyed. Resolves when it is gone.
   */
  close(options?: CloseOptions): Promise<void> {
    const { timeoutMs } = parse(closeOptions, options)
    if ((this.flags & closed) !== 0) return Promise.resolve()
    const gone = new Promise<void>((resolve) => this.extras.closed.push(() => resolve()))
    if ((this.flags & (closeAsked | destroyed)) === 0) {
      if ((this.flags & relayed) !== 0) (this.sink as RelayEnd).relay.closeWithin(timeoutMs)
      else this.beginClose(timeoutMs)
    }
    return gone
  }

  /** @internal */
  beginClose(timeoutMs: number): void {
    if ((this.flags & (closeAsked | destroyed | closed)) !== 0) return
    this.flags |= closeAsked
    this.dropStash()
    if ((this.flags & filtered) !== 0) {
      // The socket goes on reading meanwhile, and what comes is dropped: the peer may have to send before it reads.
      this.channel.stage(records.opResume | this.tag, this.slot, ownPauses, 0)
      this.filters!.finishAndClose(timeoutMs)
    } else {
      this.closeBelow(timeoutMs)
    }
  }

  /** @internal */
  closeBelow(timeoutMs: number): void {
    if ((this.flags & (destroyed | closed)) !== 0) return
    this.channel.stage(records.opClose | this.tag, this.slot, timeoutMs, 0)
  }

  /**
   * The same as `close()`, and tells how it went: `'clean'`, both directions have ended in order; `'truncated'`, the peer of
   * a TLS connection ended without saying goodbye; `'timeout'`, it did not end in time; `'reset'`, the connection failed.
   */
  async shutdown(options?: CloseOptions): Promise<ShutdownOutcome> {
    const { timeoutMs } = parse(closeOptions, options)
    const began = this.channel.nowMs()
    const gone = new Promise<SluiceError | undefined>((resolve) => this.whenClosed(resolve))
    void this.close({ timeoutMs })
    const error = await gone
    if (error !== undefined) return error.code === 'ERR_SLUICE_TLS_TRUNCATED' ? 'truncated' : 'reset'
    if (this.isDestroyed) return 'reset'
    return this.channel.nowMs() - began < timeoutMs ? 'clean' : 'timeout'
  }

  /** Ends it now; unsent bytes are dropped. `error` is what `error` and `close` handlers get. */
  destroy(error?: SluiceError): void {
    this.endNow(records.opDestroy, error)
  }

  /** Ends it now with RST, on purpose: the peer sees ECONNRESET. */
  reset(): void {
    this.endNow(records.opReset, undefined)
  }

  private endNow(op: number, error: SluiceError | undefined): void {
    if ((this.flags & (destroyed | closed)) !== 0) return
    this.flags |= destroyed
    if (error !== undefined) this.extras.destroyError = error
    this.dropStash()
    this.channel.stage(op | this.tag, this.slot, 0, 0)
    this.filters?.destroy(error)
  }

  /** @internal That ends the connection; where it has been ended already, what was thrown is told all the same. */
  handlerThrew(thrown: unknown): void {
    const error = new SluiceError('HANDLER_THREW', { phase: 'handler', cause: thrown })
    if ((this.flags & (destroyed | closed)) === 0) this.destroy(error)
    else if ((this.flags & closed) === 0 && this.extras.destroyError === undefined) this.extras.destroyError = error
    else process.emitWarning(error)
  }

  // Nobody wants the data any more; a `closed` that waits behind it is still due.
  private dropStash(): void {
    const waiting =
      (this.hold & stashed) !== 0 ? this.extras.stash.filter(({ type }) => type === records.eventClosed) : []
    this.hold = deaf
    if (waiting.length === 0) return
    this.extras.stash = waiting
    this.hold |= stashed
    queueMicrotask(() => this.unstash())
  }

  /** @internal Calls back when it is gone, after its handlers; at once if it is already. */
  whenClosed(callback: (error?: SluiceError) => void): void {
    if ((this.flags & closed) !== 0) callback(extras.get(this)?.destroyError)
    else this.extras.closed.push(callback)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // ---- Facts

  /** Where the connection is in its life. */
  get state(): ConnectionState {
    const { flags } = this
    if ((flags & closed) !== 0) return 'closed'
    if ((flags & (destroyed | closeAsked)) !== 0) return 'closing'
    if ((flags & connecting) !== 0) return 'connecting'
    if ((flags & endAsked) !== 0) return 'ending'
    return (flags & peerEnded) !== 0 ? 'peerEnded' : 'open'
  }

  /** Our IP address; undefined on Unix sockets. */
  get localAddress(): string | undefined {
    return this.endpoints.local?.address
  }

  /** Our port; undefined on Unix sockets. */
  get localPort(): number | undefined {
    const { local } = this.endpoints
    return local?.address === undefined ? undefined : local.port
  }

  /** `'IPv4'`, `'IPv6'`, or undefined on Unix sockets. */
  get localFamily(): 'IPv4' | 'IPv6' | undefined {
    const { local } = this.endpoints
    return local?.address === undefined ? undefined : local.family
  }

  /** The peer's IP address; undefined on Unix sockets. */
  get remoteAddress(): string | undefined {
    return this.endpoints.remote?.address
  }

  /** The peer's port; undefined on Unix sockets. */
  get remotePort(): number | undefined {
    const { remote } = this.endpoints
    return remote?.address === undefined ? undefined : remote.port
  }

  /** `'IPv4'`, `'IPv6'`, or undefined on Unix sockets. */
  get remoteFamily(): 'IPv4' | 'IPv6' | undefined {
    const { remote } = this.endpoints
    return remote?.address === undefined ? undefined : remote.family
  }

  /**
   * What a PROXY or client-IP header said about the client, where a step of `handshake` has read one: its claimed addresses
   * and more. `remoteAddress` is that of whom we are really connected to. Source: HP-41.
   */
  get proxy(): ProxyHeader | undefined {
    if (this.settings.steps === undefined) return undefined
    const known = extras.get(this)?.proxy
    if (known !== undefined) return known
    const header = this.channel.native.proxyHeader(this.slot, this.tag)
    if (header !== undefined) this.extras.proxy = new ProxyHeader(header)
    return this.extras.proxy
  }

  /** The tags and variables that rules have given it; undefined where they have left nothing. Source: HP-55. */
  get marks(): RuleMarks | undefined {
    if (this.settings.steps === undefined) return undefined
    const known = extras.get(this)?.marks
    if (known !== undefined) return known
    const marks = this.channel.native.ruleMarks(this.slot, this.tag)
    if (marks !== undefined) this.extras.marks = marks
    return marks
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
    const given = Object.entries(parse(writeWaterMarks, marks)).filter(([, value]) => value !== undefined)
    const settings = { ...this.settings, ...Object.fromEntries(given) }
    // Those of reading are set elsewhere.
    checkSizes({ ...settings, readLowWaterBytes: 0 })
    this.settings = settings
    this.channel.native.setLowWater(this.slot, this.tag, settings.lowWaterBytes)
  }

  /** Replaces the bounds on single reads and writes; what is left out becomes 0, none. Source: LE-20. */
  setOperationBounds(bounds: OperationBounds): void {
    const { maxReadBytes, maxWriteBytes } = parse(operationBounds, bounds)
    this.channel.native.setOperationBounds(this.slot, this.tag, maxReadBytes, maxWriteBytes)
  }

  /** Replaces the bounds on idle and half-closed time; what is left out becomes 0, none. */
  setTimeouts(bounds: ConnectionTimeouts): void {
    const { readTimeoutMs, writeTimeoutMs, halfClosedTimeoutMs } = parse(connectionTimeouts, bounds)
    this.channel.native.setTimeouts(this.slot, this.tag, readTimeoutMs, writeTimeoutMs, halfClosedTimeoutMs)
  }

  /**
   * Replaces the rate limit of its own, or lifts it: undefined. Levels go on, cut to a smaller burst; nothing is added for
   * a new limit. Source: LE-10, LE-11. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
   */
  setRateLimit(limit: RateLimit | undefined): void {
    const checked = limit === undefined ? undefined : rateLimitParser.parse(limit, 'limit')
    this.extras.rates = { ...this.ownRates, limit: checked }
    this.channel.native.setRateLimit(this.slot, this.tag, checked?.native)
  }

  /**
   * Moves it into a group, out of the one it was in, or out of all: undefined. A group that is short of bytes lets it
   * wait as the others. Source: LE-23. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_CLOSED`.
   */
  setRateLimitGroup(group: RateLimitGroup | undefined): void {
    const checked = group === undefined ? undefined : groupParser.parse(group, 'group')
    checked?.useClock(this.channel)
    this.extras.rates = { ...this.ownRates, group: checked }
    this.channel.native.setRateGroup(this.slot, this.tag, checked?.handle)
  }

  /** How it stands with its rate limits. */
  get rates(): ConnectionRates {
    const { limit, group } = this.ownRates
    return new ConnectionRates(this as Connection, limit, group)
  }

  /** @internal Its group by what the user's function says of it. */
  findRateLimitGroup(): void {
    const groups = this.settings.rateLimitGroup
    if (!(groups instanceof KeyedRateLimitGroups) || groups.groupBy === 'remoteAddress') return
    this.setRateLimitGroup(groups.group(groups.groupBy(this as Connection)))
  }

  private get ownRates(): OwnRates {
    const { rateLimit, rateLimitGroup } = this.settings
    const given = rateLimitGroup instanceof KeyedRateLimitGroups ? undefined : rateLimitGroup
    return extras.get(this)?.rates ?? { limit: rateLimit, group: given }
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

  // ---- What the channel tells

  /** @internal */
  get isDestroyed(): boolean {
    return (this.flags & destroyed) !== 0
  }

  /** @internal */
  get referenced(): boolean {
    return (this.flags & unreferenced) === 0
  }

  /** @internal For connect(): resolves when connected; `claim` answers false when another address was faster. */
  connected(target: { address: string; port?: number }, claim: () => boolean): Promise<void> {
    this.extras.target = target
    return new Promise((resolve, reject) => {
      this.extras.connected = { claim, resolve, reject }
    })
  }

  /** @internal */
  failureFacts(): ErrorFacts {
    const phase = (this.flags & connecting) !== 0 ? 'connect' : undefined
    return { phase, ...(extras.get(this)?.target ?? this.knownRemote()) }
  }

  /** @internal */
  onConnected(): void {
    if (this.settings.steps !== undefined) this.channel.takeStepData(this as Connection)
    const attempt = this.extras.connected
    if (attempt?.claim() === false) {
      this.destroy()
      return
    }
    const { tls } = this.settings
    if (tls === undefined) {
      this.opened()
      return
    }
    try {
      this.beginTls(tls)
    } catch (error) {
      this.destroy(error as SluiceError)
    }
  }

  private opened(): void {
    this.flags &= ~connecting
    this.findRateLimitGroup()
    const own = extras.get(this)
    own?.connected?.resolve()
    if (own !== undefined) own.connected = undefined
    this.begin()
  }

  /** @internal It is there: its first event. */
  begin(): void {
    const { filters, handlers } = this.settings
    if (filters !== undefined) this.filter(filters(this as never))
    handlers?.open?.(this as never)
  }

  /** @internal Secures the connection; resolves when the handshake is done. @throws {SluiceError} of what is wrong. */
  secure(tls: ConnectionTls): Promise<void> {
    if ((this.flags & notWritable) !== 0) this.refuseWrite()
    this.beginTls(tls)
    delete this.extras.tls
    return new Promise((resolve, reject) => {
      this.extras.secured = { tls, resolve, reject }
    })
  }

  // Until the channel says `securing` what comes is plaintext, and waits to be judged by onSecuring().
  private beginTls(tls: ConnectionTls): void {
    const failure = this.channel.native.startTls(this.slot, this.tag, tls.config)
    if (failure !== undefined) throw isFailure(failure) ? nativeError(failure) : tlsError(failure)
    this.hold |= securing
    this.flags |= layered
  }

  /** @internal Data before this came in plaintext: commands smuggled in before the handshake (LE-88). */
  onSecuring(): void {
    this.hold &= ~securing
    const { stash } = this.extras
    const early = stash.some(({ type }) => type === eventData)
    const { secured } = this.extras
    if (early && secured?.tls.discardPlaintext !== true) {
      // Who was connected to for TLS should have waited for our hello.
      const name = secured === undefined ? 'TLS_NOT_TLS' : 'PLAINTEXT_BEFORE_TLS'
      const where = extras.get(this)?.target ?? this.knownRemote()
      this.destroy(new SluiceError(name, { phase: 'handshake', ...where }))
      return
    }
    if (early) this.extras.stash = stash.filter(({ type }) => type !== eventData)
    if (this.hold === stashed) queueMicrotask(() => this.unstash())
  }

  /** @internal */
  onSecured(): void {
    const secured = extras.get(this)?.secured
    const error = (secured?.tls ?? this.settings.tls)?.check?.(this as Connection)
    if (error !== undefined) {
      this.destroy(error)
      return
    }
    if (secured === undefined) {
      this.opened()
      return
    }
    this.extras.secured = undefined
    secured.resolve()
  }

  /** @internal */
  onEnd(): void {
    if ((this.flags & filtered) !== 0) this.filters!.socketEnded()
    else this.tellEnd()
  }

  /** @internal */
  tellEnd(): void {
    this.flags |= peerEnded
    this.upper.end?.(this as never)
    // A stream or iterator ends the own direction itself, when its user has read to the end.
    if (!this.settings.allowHalfOpen && this.sink === undefined) this.end()
  }

  /** @internal */
  onDrain(): void {
    if ((this.flags & filtered) !== 0) this.filters!.socketDrained()
    else this.tellDrained()
  }

  /** @internal */
  tellDrained(): void {
    this.settle('drained')
    this.upper.drain?.(this as never)
  }

  /** @internal */
  onFinished(): void {
    if (this.filters?.outputFailure === undefined) this.flags |= finWritten
    this.settle('finished')
  }

  /** @internal */
  onTimeout(kind: TimeoutKind, name: ErrorName): void {
    const { upper } = this
    if (upper.timeout !== undefined) {
      upper.timeout(this as never, kind)
      return
    }
    void this.endpoints // while they can still be asked for
    this.destroy(new SluiceError(name, { phase: kind === 'write' ? 'write' : 'read', ...this.knownRemote() }))
  }

  /** @internal */
  onClosed(failure: SluiceError | undefined): void {
    this.flags |= closed
    this.hold = 0
    const known = extras.get(this)
    const error = known?.destroyError ?? failure
    if (known !== undefined) known.destroyError = error
    if (known?.connected !== undefined) {
      known.connected.reject(error ?? new SluiceError('ABORTED', { phase: 'connect', ...known.target }))
      known.closed.splice(0).forEach((wake) => {
        wake(error)
      })
      return
    }
    known?.secured?.reject(error ?? new SluiceError('CLOSED', { phase: 'handshake' }))
    known?.drained.splice(0).forEach((wake) => {
      wake()
    })
    known?.finished.splice(0).forEach((wake) => {
      wake()
    })
    this.filters?.destroy(error)
    const handlers = this.upper
    try {
      this.tellGone(handlers, error)
      // A stream or iterator that took over has been told; so are the handlers that stood there before.
      if (this.sink !== undefined) {
        this.tellGone(this.settings.handlers ?? noHandlers, error)
      } else if (error !== undefined && handlers.error === undefined && handlers.close === undefined) {
        process.emitWarning(error)
      }
    } finally {
      known?.closed.splice(0).forEach((wake) => {
        wake(error)
      })
      this.settings.gone?.()
    }
  }

  // `close` is the last call whatever `error` does.
  private tellGone(handlers: ConnectionHandlers<never>, error: SluiceError | undefined): void {
    const isTold = (this.flags & failureTold) !== 0 && this.sink === undefined
    try {
      if (error !== undefined && !isTold) handlers.error?.(this as never, error)
    } finally {
      handlers.close?.(this as never, error)
    }
  }

  private get extras(): Extras {
    let own = extras.get(this)
    if (own === undefined) {
      own = { stash: [], drained: [], finished: [], closed: [] }
      extras.set(this, own)
    }
    return own
  }

  private whenDrained(): Promise<void> {
    return new Promise((resolve, reject) => {
      const isOver = () => (this.flags & (closed | destroyed)) !== 0 || this.filters?.outputFailure !== undefined
      const tell = () => (isOver() ? reject(this.closedError()) : resolve())
      if (isOver()) tell()
      else this.extras.drained.push(tell)
    })
  }

  private closedError(): SluiceError {
    return extras.get(this)?.destroyError ?? new SluiceError('CLOSED', { phase: 'write' })
  }

  private settle(what: 'drained' | 'finished'): void {
    extras
      .get(this)
      ?.[what].splice(0)
      .forEach((wake) => {
        wake()
      })
  }

  // Asked of the system once, and remembered for the time after the end.
  private get endpoints(): { local?: NativeAddress; remote?: NativeAddress } {
    const known = extras.get(this)?.endpoints
    if (known !== undefined) return known
    const found = this.channel.native.endpoints(this.slot, this.tag)
    if (found.remote !== undefined) this.extras.endpoints = found
    return found
  }

  private knownRemote(): { address?: string; port?: number } {
    const remote = extras.get(this)?.endpoints?.remote
    return remote?.address === undefined ? {} : { address: remote.address, port: remote.port }
  }
}

function relayedError(): SluiceError {
  return new SluiceError('RELAYED', { phase: 'write' })
}

function toBytes(value: unknown): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value)
  throw new SluiceError('INVALID_ARGUMENT', {
    phase: 'write',
    detail: 'write() takes a Uint8Array, a string or a ByteQueue',
  })
}
