import { callSafely } from '../byte-queue/change-hooks.js'
import {
  closeBelow,
  endBelow,
  inputFailed,
  outputFailed,
  sendFileBelow,
  tellDrainBelow,
  writeLentBelow,
} from '../connection/below.js'
import { tellEnd } from '../connection/reading.js'
import { refuseOverflow } from '../connection/state.js'
import { tellDrained } from '../connection/writing.js'
import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { FileSegment } from '../file/segment.js'
import type { ConnectionHandlers } from '../handlers.js'
import { pausedByFilter, pausedByQueue, pausedByStream, pausedByUser, pausedWithoutReader } from '../native/records.js'
import { FilterChain } from './chain.js'
import type { Filter } from './filter.js'

// Reasons for which what has been filtered is not handed out.
const heldBack = pausedByUser | pausedByStream | pausedByQueue | pausedWithoutReader
// As much is handed out before the rest of the event loop has its turn: a little that arrives may become very much.
const turnBytes = 1_048_576
// Pieces up to here are copied by whoever writes them elsewhere, so their memory may be used again at once.
const copiedBytes = 16_384
// Bound on reading what the peer still sends after a failure, as close() has it by default.
const defaultCloseMs = 5000

interface FlushWaiter {
  wave: number
  resolve: () => void
  reject: (error: SluiceError) => void
}

/**
 * The filters of one connection, both ways, between what its user and what its socket does. It stands in the place of
 * the connection's handlers, so that a connection without filters knows nothing of it.
 */
export class FilterStack {
  private readonly input: FilterChain
  private readonly output: FilterChain
  private readonly filters: Filter[] = []
  private readonly flushes: FlushWaiter[] = []
  private readonly below: Pick<Connection, 'write' | 'writeLent'>
  private inputOver = false
  private outputOver = false
  private hasEnded = false // the peer, of which the user may not have been told yet
  private budgetBytes = 0
  private isContinuing = false
  private wantsDrain = false
  private drainSoon = false
  private asksDrain = false
  private closing: { deadlineMs: number; timer: NodeJS.Timeout } | undefined
  private isDestroyed = false

  constructor(
    private readonly connection: Connection,
    /** Who gets what has been filtered. */
    public upper: ConnectionHandlers<never>,
  ) {
    const { hardLimitBytes } = connection.settings
    this.input = new FilterChain('input', hardLimitBytes, () => this.runInput())
    this.output = new FilterChain('output', hardLimitBytes, () => this.runOutput())
    this.below = {
      write: (bytes: Uint8Array | string) => connection.writeBelow(bytes as Uint8Array),
      writeLent: (bytes, released) => writeLentBelow(connection, bytes, released),
    }
  }

  /** `head` is what the user has been handed already, and the filter should get. */
  add(filter: Filter, head: Uint8Array | undefined): void {
    this.filters.push(filter)
    if (filter.output !== undefined) this.output.addFirst(filter)
    if (this.inputOver) return
    if (filter.input !== undefined) this.input.addLast(filter, head)
    else if (head !== undefined) this.input.out.prepend(head)
    this.resumed()
  }

  /** What had been handed out, and comes again. */
  putBack(bytes: Uint8Array): void {
    this.input.out.prepend(bytes)
    if (this.input.failure === undefined) this.inputOver = false
    this.resumed()
  }

  /** Whether a filter is at work right now. */
  get isInFilter(): boolean {
    return this.input.isInFilter || this.output.isInFilter
  }

  // ---- Reading

  /** The socket's data, as a handler gets it. */
  data(_connection: Connection<never>, bytes: Uint8Array): void {
    if (this.inputOver) return
    const { input } = this
    if (input.isEmpty && input.out.sizeBytes === 0) {
      this.upper.data?.(this.connection as never, bytes)
      return
    }
    input.put(bytes)
    this.runInput()
  }

  /** The peer has finished sending: filters finish, and what they then give comes before its end. Source: D5. */
  socketEnded(): void {
    this.hasEnded = true
    this.input.finish()
    this.runInput()
  }

  /** Whether something is still to be handed out, or the peer's end told. */
  get isUnread(): boolean {
    return this.hasEnded && !this.inputOver
  }

  /** The user may take again what is there. */
  resumed(): void {
    queueMicrotask(() => this.runInput())
  }

  /** Nobody wants to read any more. */
  stopInput(): void {
    this.inputOver = true
    this.input.destroy()
  }

  private runInput(): void {
    if (this.inputOver) return
    this.budgetBytes = turnBytes
    this.input.run(this.handOut)
    this.settleInput()
  }

  private get isHeldBack(): boolean {
    return (this.connection.hold & heldBack) !== 0
  }

  private readonly handOut = (): boolean => {
    const { out } = this.input
    let moved = false
    while (out.sizeBytes > 0 && !this.isHeldBack) {
      if (this.budgetBytes <= 0) {
        this.continueLater()
        break
      }
      this.budgetBytes -= out.lendFirst(this.give, copiedBytes)
      moved = true
    }
    return moved
  }

  private readonly give = (bytes: Uint8Array): void => {
    const { connection } = this
    const { debug } = connection.channel
    const given = debug ? bytes.slice() : bytes
    try {
      this.upper.data?.(connection as never, given)
    } catch (thrown) {
      connection.handlerThrew(thrown)
    }
    if (debug) given.fill(0xdb)
  }

  private guarded(call: () => void): void {
    try {
      call()
    } catch (thrown) {
      this.connection.handlerThrew(thrown)
    }
  }

  private continueLater(): void {
    if (this.isContinuing) return
    this.isContinuing = true
    setImmediate(() => {
      this.isContinuing = false
      this.runInput()
    })
  }

  private settleInput(): void {
    const { input, connection } = this
    if (this.inputOver) return
    if (input.isOver && input.out.sizeBytes === 0 && !this.isHeldBack) {
      this.inputOver = true
      this.guarded(() => {
        if (input.failure === undefined) tellEnd(connection)
        else inputFailed(connection, input.failure)
      })
      if (input.failure === undefined) connection.resumeFor(pausedByFilter)
      else if (this.outputOver) closeBelow(connection, defaultCloseMs)
      return
    }
    // Where the socket has ended, its `closed` has to wait for what is still to come out.
    if (this.isUnread || input.isFull) connection.pauseFor(pausedByFilter)
    else connection.resumeFor(pausedByFilter)
  }

  // ---- Writing

  /** As of {@link Connection.write}; what is lent is given back by `released`. */
  write(bytes: Uint8Array, released?: () => void): boolean {
    const { connection, output } = this
    if (output.isEmpty && output.out.sizeBytes === 0) {
      if (released === undefined) return connection.writeBelow(bytes)
      return writeLentBelow(connection, bytes, released)
    }
    const { highWaterBytes, hardLimitBytes } = connection.settings
    const wouldHold = this.heldBytes + bytes.length
    if (wouldHold > hardLimitBytes) refuseOverflow(connection, wouldHold)
    output.put(bytes, released)
    this.runOutput()
    if (output.failure !== undefined) return false
    const hasRoom = connection.queuedBytes < highWaterBytes
    if (!hasRoom) this.tellDrain()
    return hasRoom
  }

  /** As of {@link Connection.writeFile}. */
  writeFile(segment: FileSegment, fromBytes: number, lengthBytes: number): boolean {
    const { connection, output } = this
    output.putFile(segment, fromBytes, lengthBytes, (...part) => sendFileBelow(connection, ...part))
    this.runOutput()
    if (output.failure !== undefined) return false
    const hasRoom = connection.queuedBytes < connection.settings.highWaterBytes
    if (!hasRoom) this.tellDrain()
    return hasRoom
  }

  /** What the socket was to send itself cannot be, nor anything after it. */
  abortOutput(error: SluiceError): void {
    this.output.abort(error)
    this.runOutput()
  }

  /** Bytes on their way through the filters. */
  get queuedBytes(): number {
    return this.output.movingBytes
  }

  /** The same, with what filters keep until more is written and what the socket has not sent. */
  get heldBytes(): number {
    return this.output.heldBytes + this.connection.queuedBelowBytes
  }

  /** Why writing has come to an end before its time. */
  get outputFailure(): SluiceError | undefined {
    return this.output.failure
  }

  /** Resolves when everything written so far has left the filters. Source: LE-76. */
  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.flushes.push({ wave: this.output.flush(), resolve, reject })
      this.runOutput()
    })
  }

  /** Nothing more will be written: filters finish from the top down, then the socket does. */
  finish(): void {
    this.output.finish()
    this.runOutput()
  }

  /** The same, and then the socket reads and drops until the peer has ended, `timeoutMs` at most from now. */
  finishAndClose(timeoutMs: number): void {
    this.stopInput()
    if (this.outputOver) {
      closeBelow(this.connection, timeoutMs)
      return
    }
    // By the real clock also where the network's is virtual, since filters work in real time.
    const timer = setTimeout(() => this.connection.destroy(), timeoutMs).unref()
    this.closing = { deadlineMs: performance.now() + timeoutMs, timer }
    this.finish()
  }

  /** `drain` is to be told when there is room again, as `lowWaterBytes` has it. */
  tellDrain(): void {
    this.wantsDrain = true
    this.settleDrain()
  }

  /** The socket has room again. */
  socketDrained(): void {
    this.asksDrain = false
    this.output.retry()
    this.runOutput()
  }

  private runOutput(): void {
    if (this.isDestroyed) return
    this.output.run(this.sendOut)
    this.settleOutput()
  }

  // Without more room a `drain` of the socket will come, as the write that used up the last of it has asked for one.
  private readonly sendOut = (): boolean => {
    const { connection } = this
    const { out } = this.output
    const { highWaterBytes, hardLimitBytes } = connection.settings
    const queued = connection.queuedBelowBytes
    if (this.isDestroyed || out.sizeBytes === 0 || queued >= highWaterBytes) return false
    return out.writeTo(this.below as Connection, Math.min(out.sizeBytes, hardLimitBytes - queued)) > 0
  }

  private settleOutput(): void {
    const { output, connection } = this
    if (this.isDestroyed) return
    if (output.isOver && output.out.sizeBytes === 0 && !this.outputOver) {
      this.outputOver = true
      this.endBelow()
      if (output.failure !== undefined) outputFailed(connection, output.failure)
    }
    this.settleFlushes()
    if (this.wantsDrain) this.settleDrain()
  }

  private endBelow(): void {
    const { connection, closing } = this
    this.closing = undefined
    clearTimeout(closing?.timer)
    if (closing !== undefined) closeBelow(connection, Math.max(1, Math.round(closing.deadlineMs - performance.now())))
    else if (this.input.failure !== undefined) closeBelow(connection, defaultCloseMs)
    else endBelow(connection)
  }

  private settleFlushes(): void {
    const { output, flushes } = this
    if (flushes.length === 0) return
    const { failure } = output
    const isOut = output.out.sizeBytes === 0
    for (const flush of flushes.splice(0)) {
      if (failure !== undefined) flush.reject(failure)
      else if (isOut && flush.wave <= output.flushedWave) flush.resolve()
      else flushes.push(flush)
    }
  }

  // Never within a call of the user's.
  private settleDrain(): void {
    const { connection } = this
    const { lowWaterBytes } = connection.settings
    if (connection.queuedBytes <= lowWaterBytes) {
      if (this.drainSoon) return
      this.drainSoon = true
      queueMicrotask(() => {
        this.drainSoon = false
        if (!this.wantsDrain || this.isDestroyed || connection.queuedBytes > lowWaterBytes) return
        this.wantsDrain = false
        this.guarded(() => tellDrained(connection))
      })
    } else if (this.output.movingBytes <= lowWaterBytes && !this.asksDrain) {
      // What is left lies with the socket, which may not have been asked.
      this.asksDrain = true
      tellDrainBelow(connection)
    }
  }

  // ---- Ending

  /** The connection is gone, or will be soon: everything is dropped. */
  destroy(error: SluiceError | undefined): void {
    if (this.isDestroyed) return
    this.isDestroyed = true
    clearTimeout(this.closing?.timer)
    this.stopInput()
    this.output.destroy()
    for (const { reject } of this.flushes.splice(0)) reject(error ?? new SluiceError('CLOSED', { phase: 'write' }))
    for (const filter of this.filters.splice(0)) {
      if (filter.close !== undefined) callSafely(() => filter.close!())
    }
  }
}
