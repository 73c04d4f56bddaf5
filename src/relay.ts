import { type Channel, timeoutErrors } from './channel.js'
import { beginClose } from './connection/ending.js'
import {
  beginRelay,
  breakOffForRelay,
  hasEndedInOrder,
  isFiltered,
  requireRelayable,
  resetForRelay,
} from './connection/relaying.js'
import { Connection } from './connection.js'
import { abortError, SluiceError } from './errors.js'
import type { ConnectionHandlers, TimeoutKind } from './handlers.js'
import { isFailure } from './native/binding.js'
import { opRelayGo } from './native/records.js'
import { expected, integer, milliseconds, optional, parse, type Shape, signal, withDefault } from './options.js'
import { RelayPump } from './relay-pump.js'
import { type CloseOptions, closeOptions } from './settings.js'

/** One of the two connections of a relay: the first or the second argument of {@link relay}. */
export type RelaySide = 'a' | 'b'

/** How a relay bounds what it holds and how long it lasts. */
export interface RelayOptions {
  /** Bytes waiting for a receiver from which its sender is not read any more, 1 to 1 073 741 824. Default 262 144, or the
   *  receiver's own `highWaterBytes` where that is less. */
  highWaterBytes?: number
  /** Waiting bytes at which the sender is read again. Default: a quarter of `highWaterBytes`. */
  lowWaterBytes?: number
  /** Bound on silence in both directions, once both have carried something; from then on the connections' own
   *  `readTimeoutMs` and `writeTimeoutMs` count no more. Default 0: none. Source: HP-103. */
  tunnelTimeoutMs?: number
  /** The same once one direction has ended, in place of `tunnelTimeoutMs`. Default 0: none. Source: HP-104. */
  finTimeoutMs?: number
  /** Destroys the relay when it is aborted. */
  signal?: AbortSignal
}

const waterMark = integer({ min: 1, max: 1_073_741_824 })
const relayOptions = {
  highWaterBytes: optional(waterMark),
  lowWaterBytes: optional(integer({ min: 0, max: 1_073_741_824 })),
  tunnelTimeoutMs: withDefault(milliseconds(), 0),
  finTimeoutMs: withDefault(milliseconds(), 0),
  signal: optional(signal()),
} satisfies Shape<RelayOptions>

const defaultHighWaterBytes = 262_144

/** How a relay has ended. */
export interface RelayResult {
  /** `'ended'`: both directions have ended in good order. `'closed'`: by `close()` of the relay or of a connection. */
  reason: 'ended' | 'closed'
  /** What the first received and the second was given. */
  bytesAToB: number
  /** What the second received and the first was given. */
  bytesBToA: number
}

/** Counters of a relay. */
export interface RelayStats {
  /** Whether native code moves the bytes. Otherwise JavaScript does: the connections belong to different loops or runtimes,
   *  or one of them has filters. */
  native: boolean
  /** Whether both connections are gone. */
  closed: boolean
  /** What the first received and the second was given. */
  bytesAToB: number
  /** What the second received and the first was given. */
  bytesBToA: number
  /** Waiting for the first connection's system to take them. */
  queuedToABytes: number
  /** Waiting for the second connection's system to take them. */
  queuedToBBytes: number
}

/** Why a relay has failed: `code` is `ERR_SLUICE_RELAY_FAILED`, `cause` what went wrong. */
export class RelayError extends SluiceError {
  /** The connection that failed first; undefined when it was the relay as a whole, by a timeout or `destroy()`. */
  declare readonly side?: RelaySide
  /** What the first received and the second was given. */
  readonly bytesAToB: number
  /** What the second received and the first was given. */
  readonly bytesBToA: number

  /** @internal */
  constructor(side: RelaySide | undefined, cause: SluiceError, bytes: readonly [number, number]) {
    const where = side === undefined ? '' : `connection ${side}: `
    super('RELAY_FAILED', { cause, detail: `the relay failed: ${where}${cause.message}` })
    if (side !== undefined) Object.defineProperty(this, 'side', { value: side, enumerable: true })
    ;[this.bytesAToB, this.bytesBToA] = bytes
  }
}

/** @internal What stands in the place of a relayed connection's reader. */
export class RelayEnd {
  constructor(
    readonly relay: Relay,
    readonly side: 0 | 1,
  ) {}

  /** One direction of a filtered connection has failed. */
  directionFailed(error: SluiceError): void {
    this.relay.connectionFailed(this.side, error)
  }
}

const endOf = (connection: Connection<never>) => connection.sink as RelayEnd

// Shared by all relays; a connection knows its own as `sink`.
const handlers: ConnectionHandlers<never> = {
  data: (connection, bytes) => {
    const { relay, side } = endOf(connection)
    relay.received(side, bytes)
  },
  drain: (connection) => {
    const { relay, side } = endOf(connection)
    relay.drained(side)
  },
  end: (connection) => {
    const { relay, side } = endOf(connection)
    relay.peerEnded(side)
  },
  timeout: (connection, kind) => {
    const { relay, side } = endOf(connection)
    relay.connectionTimedOut(side, kind)
  },
  close: (connection, error) => {
    const { relay, side } = endOf(connection)
    relay.connectionClosed(side, error)
  },
}

const sideNames = ['a', 'b'] as const

/**
 * Joins two open connections of any kind: what one receives is sent to the other, until both directions have ended. From now
 * on the connections belong to the relay: writing to them, or reading from them, throws `ERR_SLUICE_RELAYED`. What they had
 * received before goes first; a `pause()` is lifted. Their `error` and `close` handlers are still called.
 *
 * Where both belong to one loop and have no filters, native code moves the bytes; {@link Relay.stats} tells.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`; `ERR_SLUICE_CLOSED`, `ERR_SLUICE_WRITE_AFTER_END`,
 *   `ERR_SLUICE_RELAYED` or `ERR_SLUICE_INVALID_ARGUMENT` for a connection that cannot be relayed;
 *   `ERR_SLUICE_ABORTED`. Nothing has been done then.
 */
// biome-ignore lint/suspicious/noExplicitAny: whatever belongs to them
export function relay(a: Connection<any>, b: Connection<any>, options?: RelayOptions): Relay {
  const parsed = parse(relayOptions, options)
  const { highWaterBytes, lowWaterBytes } = parsed
  if (lowWaterBytes !== undefined && lowWaterBytes > (highWaterBytes ?? defaultHighWaterBytes)) {
    throw expected(
      `at most "highWaterBytes", ${highWaterBytes ?? defaultHighWaterBytes}`,
      lowWaterBytes,
      'lowWaterBytes',
    )
  }
  if (!(a instanceof Connection)) throw expected('a Connection', a, 'a')
  if (!(b instanceof Connection)) throw expected('a Connection', b, 'b')
  if ((a as Connection) === (b as Connection)) throw expected('another connection than "a"', 'the same', 'b')
  requireRelayable(a)
  requireRelayable(b)
  if (parsed.signal?.aborted) throw abortError(parsed.signal)
  const made = new Relay(a, b, {
    ...parsed,
    highWaterBytes: highWaterBytes ?? defaultHighWaterBytes,
  })
  return made
}

interface Bounds {
  highWaterBytes: number
  lowWaterBytes: number | undefined
  tunnelTimeoutMs: number
  finTimeoutMs: number
  signal: AbortSignal | undefined
}

/** Two connections that are joined by {@link relay}. */
export class Relay implements AsyncDisposable {
  /**
   * Resolves when both connections are gone in good order. Rejects with a {@link RelayError} when one has failed or been
   * destroyed. Nobody has to wait for it: a rejection that nobody handles ends no process.
   */
  readonly done: Promise<RelayResult>

  private readonly connections: readonly [Connection, Connection]
  private readonly pumps: readonly [RelayPump, RelayPump]
  // The relay's number with native code.
  private id: number | undefined
  private readonly counts: [number, number] = [0, 0]
  private readonly gone: [boolean, boolean] = [false, false]
  private isClosing = false
  private failure: { side: RelaySide | undefined; cause: SluiceError } | undefined
  private resolve!: (result: RelayResult) => void
  private reject!: (error: RelayError) => void
  private readonly removeAbort: () => void
  private readonly bounds: Bounds
  // Of the path through JavaScript.
  private lastProgressMs = 0
  private stopTimer: (() => void) | undefined

  /** @internal */
  constructor(a: Connection, b: Connection, bounds: Bounds) {
    this.bounds = bounds
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    this.done.catch(() => {})
    this.connections = [a, b]
    this.pumps = [new RelayPump(a, b, this.marksOf(b).high), new RelayPump(b, a, this.marksOf(a).high)]
    const { signal } = bounds
    const abort = () => this.destroy(abortError(signal!))
    signal?.addEventListener('abort', abort, { once: true })
    this.removeAbort = () => signal?.removeEventListener('abort', abort)
    beginRelay(a, new RelayEnd(this, 0), handlers)
    beginRelay(b, new RelayEnd(this, 1), handlers)
    this.join()
    if (this.id === undefined) this.armTimer()
    // The peers may have ended before; that is not told again.
    this.connections.forEach((connection, side) => {
      if (connection.hasPeerEnded) this.peerEnded(side as 0 | 1)
    })
  }

  /**
   * Ends it in good order: what has been received is sent, then each connection closes as by its own `close()`. Resolves
   * when both are gone.
   */
  async close(options?: CloseOptions): Promise<void> {
    const { timeoutMs } = parse(closeOptions, options)
    this.closeWithin(timeoutMs)
    await this.done.catch(() => {})
  }

  /** Ends it now: both connections are reset, and `done` rejects with `error` (default `ERR_SLUICE_ABORTED`) as cause. */
  destroy(error?: SluiceError): void {
    if (this.isOver) return
    this.fail(undefined, error ?? new SluiceError('ABORTED', { phase: 'close', detail: 'the relay was destroyed' }))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Counters. Each call asks the loop, so ask rarely where it has a thread of its own. */
  stats(): RelayStats {
    const { connections, gone } = this
    const [bytesAToB, bytesBToA] = this.bytes
    const queued = (side: 0 | 1) => {
      if (gone[side]) return 0
      return this.id === undefined ? this.pumps[1 - side]!.queuedBytes : connections[side].stats().queuedBytes
    }
    return {
      native: this.id !== undefined,
      closed: this.isOver,
      ...{ bytesAToB, bytesBToA },
      ...{ queuedToABytes: queued(0), queuedToBBytes: queued(1) },
    }
  }

  private get isOver(): boolean {
    return this.gone[0] && this.gone[1]
  }

  /** @internal What has been moved, from the first to the second and back. */
  get bytes(): [number, number] {
    const known = this.id === undefined || this.isOver ? undefined : this.channel.native.relayNumbers(this.id)
    const counts = known ?? this.counts
    return this.pumps.map(({ isHandedOver, bytes }, side) => (isHandedOver ? counts[side]! : bytes)) as [number, number]
  }

  private get channel(): Channel {
    return this.connections[0].channel
  }

  private marksOf(receiver: Connection): { high: number; low: number } {
    const high = Math.min(this.bounds.highWaterBytes, receiver.settings.highWaterBytes)
    return { high, low: Math.min(this.bounds.lowWaterBytes ?? high >> 2, high) }
  }

  // ---- The two paths

  // Native code takes over where it can. Until it says so for a side, JavaScript passes on what it gets from there.
  private join(): void {
    const [a, b] = this.connections
    if (a.channel !== b.channel || isFiltered(a) || isFiltered(b)) return
    const [ofA, ofB] = [this.marksOf(a), this.marksOf(b)]
    const { tunnelTimeoutMs, finTimeoutMs } = this.bounds
    const answer = a.channel.native.relay(
      ...([a.slot, a.tag, b.slot, b.tag] as const),
      ...([ofA.high, ofA.low, ofB.high, ofB.low] as const),
      ...([tunnelTimeoutMs, finTimeoutMs] as const),
    )
    // One of them is about to close; what is known of it is on its way.
    if (isFailure(answer)) return
    this.id = answer
    a.channel.relays.set(answer, this)
  }

  /** @internal All that came before native code took over has been passed on. */
  joined(side: 0 | 1): void {
    const pump = this.pumps[side]!
    const { from, bytes } = pump
    pump.isHandedOver = true
    from.channel.stage(opRelayGo | from.tag, from.slot, bytes | 0, Math.floor(bytes / 2 ** 32))
  }

  /** @internal */
  received(side: 0 | 1, bytes: Uint8Array): void {
    this.noteProgress()
    this.pumps[side]!.data(bytes)
  }

  /** @internal The connection of that side has room. */
  drained(side: 0 | 1): void {
    this.noteProgress()
    this.pumps[1 - side]!.drained()
  }

  /** @internal */
  peerEnded(side: 0 | 1): void {
    if (this.id !== undefined) return
    this.pumps[side]!.end()
    this.armTimer()
  }

  // ---- Ends

  /** @internal */
  closeWithin(timeoutMs: number): void {
    if (this.isClosing || this.failure !== undefined) return
    this.isClosing = true
    for (const pump of this.pumps) pump.finish()
    for (const connection of this.connections) beginClose(connection, timeoutMs)
  }

  /** @internal */
  timedOut(halfClosed: boolean): void {
    this.fail(undefined, new SluiceError(halfClosed ? 'FIN_TIMEOUT' : 'TUNNEL_TIMEOUT', { phase: 'read' }))
  }

  private fail(side: RelaySide | undefined, cause: SluiceError): void {
    this.failure ??= { side, cause }
    for (const connection of this.connections) resetForRelay(connection, cause)
  }

  /** @internal A bound of the connection itself; that of the tunnel takes its place. */
  connectionTimedOut(side: 0 | 1, kind: TimeoutKind): void {
    if (kind !== 'halfClosed' && this.bounds.tunnelTimeoutMs > 0 && this.isTunnel) return
    this.connectionFailed(side, new SluiceError(timeoutErrors[kind], { phase: kind === 'write' ? 'write' : 'read' }))
  }

  /** @internal */
  connectionFailed(side: 0 | 1, cause: SluiceError): void {
    this.failure ??= { side: sideNames[side], cause }
    this.connections[side].destroy(cause)
  }

  /** @internal */
  counted(side: number, low: number, high: number): void {
    this.counts[side] = (low >>> 0) + (high >>> 0) * 2 ** 32
  }

  /** @internal */
  connectionClosed(side: 0 | 1, error: SluiceError | undefined): void {
    this.gone[side] = true
    const connection = this.connections[side]
    const other = (1 - side) as 0 | 1
    const inOrder = error === undefined && (this.isClosing || hasEndedInOrder(connection))
    // Whoever was reset because of the other one tells nothing new.
    if (!inOrder && (error?.code !== 'ERR_SLUICE_RELAY_FAILED' || this.isOver)) {
      const destroyed = new SluiceError('ABORTED', { phase: 'close', detail: 'the connection was destroyed' })
      this.failure ??= { side: sideNames[side], cause: error ?? destroyed }
    }
    // Native code does it by itself, unless JavaScript had something to pass on.
    const isOurs = this.id === undefined || !this.pumps[side]!.isHandedOver
    if (!inOrder && isOurs && !this.gone[other]) {
      this.pumps[side]!.finish()
      void breakOffForRelay(this.connections[other])
    }
    if (this.isOver) this.settle()
  }

  private settle(): void {
    this.removeAbort()
    this.stopTimer?.()
    if (this.id !== undefined) this.channel.relays.delete(this.id)
    const [bytesAToB, bytesBToA] = this.bytes
    const { failure } = this
    if (failure === undefined) this.resolve({ reason: this.isClosing ? 'closed' : 'ended', bytesAToB, bytesBToA })
    else this.reject(new RelayError(failure.side, failure.cause, [bytesAToB, bytesBToA]))
  }

  // ---- Time, of the path through JavaScript

  private noteProgress(): void {
    if (this.stopTimer !== undefined) this.lastProgressMs = this.channel.nowMs()
  }

  private get isTunnel(): boolean {
    return this.pumps.every(({ bytes }) => bytes > 0)
  }

  private armTimer(): void {
    const { tunnelTimeoutMs, finTimeoutMs } = this.bounds
    if (tunnelTimeoutMs + finTimeoutMs === 0) return
    this.stopTimer?.()
    this.lastProgressMs = this.channel.nowMs()
    this.wait()
  }

  private wait(): void {
    const { tunnelTimeoutMs, finTimeoutMs } = this.bounds
    const halfClosed = this.connections[0].hasPeerEnded !== this.connections[1].hasPeerEnded && finTimeoutMs > 0
    const boundMs = halfClosed ? finTimeoutMs : tunnelTimeoutMs
    if (boundMs === 0) return
    const leftMs = halfClosed || this.isTunnel ? this.lastProgressMs + boundMs - this.channel.nowMs() : boundMs
    if (leftMs <= 0) this.timedOut(halfClosed)
    else this.stopTimer = this.channel.after(Math.ceil(leftMs), () => this.wait())
  }
}
